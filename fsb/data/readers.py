"""Reads files that may be damaged or mislabelled; every failure is a one-line error."""

from __future__ import annotations

import gzip
import io
import math
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fsb.errors import FsbError

MOST_BYTES = 2 * 2**30
"""The limit on what an archive or a file of arrays unpacks to."""

MOST_STREAMED = 2**28
"""The limit on what a single stream unpacks to; published files have at most 80 MB."""

MOST_PIXELS = 2**26
"""The limit on the size of one image file."""


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turns any error that a damaged or hostile file raises into an ``FsbError`` naming it."""
    try:
        yield
    except FsbError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise FsbError(f"{path}: damaged, truncated or in another format ({reason})") from error


def require_file(path: Path) -> Path:
    """Returns the path of a regular file; opening a FIFO or a device could block for ever.

    Raises:
      FsbError: if it is not a regular file.
    """
    if not path.is_file():
        raise FsbError(f"{path}: not a regular file")
    return path


def bounded(total: int, path: Path, most: int = MOST_BYTES) -> None:
    """Refuses a file that unpacks to more than ``most`` bytes.

    Raises:
      FsbError: if ``total`` is above ``most``.
    """
    if total > most:
        raise FsbError(
            f"{path}: unpacks to more than {most >> 20} MiB, more than any data set here"
        )


def read_bytes(path: Path, most: int = MOST_STREAMED) -> bytes:
    """The contents of a file, decompressed if its name ends in .gz; at most ``most`` bytes."""
    require_file(path)
    with reading(path), gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        parts, total = [], 0
        while part := file.read(2**24):
            total += len(part)
            bounded(total, path, most)
            parts.append(part)
        return b"".join(parts)


def read_idx(path: Path) -> np.ndarray:
    """The uint8 images [N, H, W] of an idx file, the format of MNIST and its successors.

    Raises:
      FsbError: if the header or the length is wrong.
    """
    require_file(path)
    with reading(path), gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        magic, *shape = struct.unpack(">IIII", file.read(16))
        if magic != 0x803:
            raise FsbError(f"{path}: not an idx file of images (it starts with {magic:#x})")
        size = math.prod(shape)
        bounded(size, path, MOST_STREAMED)
        content = file.read(size + 1)  # one more byte shows a longer file
        return np.frombuffer(content, np.uint8).reshape(shape)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, without loading pickles."""
    with reading(path), zipfile.ZipFile(require_file(path)) as members:
        bounded(sum(info.file_size for info in members.infolist()), path)
    with reading(path), np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def read_image(content: bytes | Path, path: Path, formats: Sequence[str]) -> Any:
    """An RGB PIL image of one of Pillow's ``formats``, from bytes or a file.

    Raises:
      FsbError: if it is damaged, of another format or larger than ``MOST_PIXELS``; it names
        ``path``.
    """
    from PIL import Image

    source = io.BytesIO(content) if isinstance(content, bytes) else require_file(content)
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(source, formats=tuple(formats)) as image:
            if not 0 < image.width * image.height <= MOST_PIXELS:
                raise ValueError(f"an image of {image.width} x {image.height} pixels")
            return image.convert("RGB")


def archive_members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of the regular files in a zip or tar archive, in its own order.

    Raises:
      FsbError: if the archive is damaged or unpacks to too much.
    """
    require_file(archive)
    total = 0
    with reading(archive):
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as zipped:
                bounded(sum(info.file_size for info in zipped.infolist()), archive)
                for info in zipped.infolist():
                    if not info.is_dir():
                        yield info.filename, zipped.read(info)
            return
        with tarfile.open(archive) as tar:
            for member in tar:
                total += member.size
                bounded(total, archive)
                if member.isfile() and (stream := tar.extractfile(member)):
                    yield member.name, stream.read()


def read_mat(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Reads the arrays ``names`` of a MATLAB file, as far as they are present."""
    from scipy.io import loadmat

    with reading(path):
        bounded(_mat_size(require_file(path)), path)
        return loadmat(path, variable_names=names)


def _mat_size(path: Path) -> int:
    """The bytes of all variables of a MATLAB 5 file, decompressed piece by piece."""
    total, unpacker = 0, zlib.decompressobj()
    with open(path, "rb") as file:
        file.seek(128)
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack("<II", tag)
            total += size
            end = file.tell() + size
            if kind == 15:  # compressed
                unpacker, left = zlib.decompressobj(), size
                while left > 0 and total <= MOST_BYTES and (part := file.read(min(left, 2**16))):
                    left -= len(part)
                    total += len(unpacker.decompress(part))
            if total > MOST_BYTES:
                break
            file.seek(end)
    return total
