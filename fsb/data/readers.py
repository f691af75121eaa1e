"""Reads files that may be damaged or mislabelled; every failure is a one-line error."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fsb.errors import FsbError

_DAMAGE = (
    OSError,  # unreadable, bad gzip, not an image
    EOFError,
    SyntaxError,  # raised by Pillow for a broken PNG
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
    pickle.UnpicklingError,
    NotImplementedError,
    RecursionError,
    MemoryError,
    OverflowError,
)


class Raw(NamedTuple):
    """The result of a reader.

    splits: uint8 images of each split.
    source: where they were found.
    verified: whether the bytes match the published checksums.
    notes: caveats to report with results.
    comparable: whether the images have the order of the published files, so checksums apply.
    """

    splits: dict[str, np.ndarray]
    source: str
    verified: bool = False
    notes: str = ""
    comparable: bool = True


Published = Mapping[str, tuple[int, str]]
"""The number of images and the sha256 of all pixels, for each published split."""


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turns any error that a damaged file raises in a decoder into an ``FsbError`` naming it."""
    try:
        yield
    except FsbError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FsbError(f"{path}: damaged, truncated or in another format ({reason})") from error


def read_bytes(path: Path) -> bytes:
    """The contents of a file, decompressed if its name ends in .gz."""
    with reading(path), gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        return file.read()


def read_idx(path: Path) -> np.ndarray:
    """The uint8 images [N, H, W] of an idx file, the format of MNIST and its successors.

    Raises:
      FsbError: if the header or the length is wrong.
    """
    content = read_bytes(path)
    with reading(path):
        magic, *shape = struct.unpack(">IIII", content[:16])
        if magic != 0x803:
            raise FsbError(f"{path}: not an idx file of images (it starts with {magic:#x})")
        return np.frombuffer(content, np.uint8, offset=16).reshape(shape)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, without loading pickles."""
    with reading(path), np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def read_mat(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Reads the arrays ``names`` of a MATLAB file, as far as they are present."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    with reading(path):
        try:
            return loadmat(path, variable_names=names)
        except MatReadError as error:  # not a subclass of the errors above
            raise ValueError(str(error)) from error


def check(raw: Raw, published: Published, verify: bool) -> Raw:
    """Sets ``verified`` of ``raw`` if every split has the published checksum.

    Raises:
      FsbError: if ``verify`` is true and a count or a comparable checksum differs.
    """
    problems = [
        problem
        for split, (count, sha256) in published.items()
        if (problem := _difference(raw.splits[split], count, sha256 if raw.comparable else None))
    ]
    if problems and verify:
        raise FsbError(f"{raw.source}: {problems[0]}; replace it, or set data.verify=false")
    checked = bool(published) and raw.comparable and not problems
    return raw._replace(verified=raw.verified or checked)


def _difference(images: np.ndarray, count: int, sha256: str | None) -> str:
    if len(images) != count:
        return f"{len(images)} images where {count} were published"
    if sha256 and digest(images) != sha256:
        return "its images are not the published ones (their sha256 differs)"
    return ""


def digest(images: np.ndarray) -> str:
    """The sha256 of all pixels, in order."""
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()


def carve(raw: Raw, valid: int) -> Raw:
    """Splits the last ``valid`` training images off as the valid split.

    Raises:
      FsbError: unless 0 < valid < the number of training images.
    """
    images = raw.splits["train"]
    if not 0 < valid < len(images):
        raise FsbError(f"data.valid={valid}: must lie between 1 and {len(images) - 1}")
    cut = len(images) - valid
    return raw._replace(splits={**raw.splits, "train": images[:cut], "valid": images[cut:]})
