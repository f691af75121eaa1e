"""Reading files that may be damaged or not what they claim: every failure is one line."""

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
    SyntaxError,  # Pillow's word for a broken PNG
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
    """What a reader found: uint8 images of each split, where, and whether they were verified.

    verified: the bytes are the published ones, by checksum.
    comparable: a published checksum, where there is one, is that of these images in this order.
    """

    splits: dict[str, np.ndarray]
    source: str
    verified: bool = False
    notes: str = ""
    comparable: bool = True


Published = Mapping[str, tuple[int, str]]
"""Of each published split: the number of images and the sha256 of all its pixels."""


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn whatever a damaged file makes a decoder raise into one ``FsbError`` that names it."""
    try:
        yield
    except FsbError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FsbError(f"{path}: damaged, truncated or in another format ({reason})") from error


def read_bytes(path: Path) -> bytes:
    """The content of a file, gunzipped where its name ends in .gz."""
    with reading(path), gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        return file.read()


def read_idx(path: Path) -> np.ndarray:
    """The uint8 images [N, H, W] of an idx file, as MNIST and its successors are published.

    Raises ``FsbError`` on a wrong header or length.
    """
    content = read_bytes(path)
    with reading(path):
        magic, *shape = struct.unpack(">IIII", content[:16])
        if magic != 0x803:
            raise FsbError(f"{path}: not an idx file of images (it starts with {magic:#x})")
        return np.frombuffer(content, np.uint8, offset=16).reshape(shape)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file; nothing pickled is loaded."""
    with reading(path), np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def read_mat(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """The arrays ``names`` of a MATLAB file, as far as they are there."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    with reading(path):
        try:
            return loadmat(path, variable_names=names)
        except MatReadError as error:  # of a family of its own
            raise ValueError(str(error)) from error


def check(raw: Raw, published: Published, verify: bool) -> Raw:
    """``raw`` with ``verified`` set: every split has the published checksum.

    Raises ``FsbError`` where ``verify`` is true and a count or a comparable checksum differs.
    """
    problems = [
        problem
        for split, (count, sha256) in published.items()
        if (problem := _difference(raw.splits[split], count, sha256 if raw.comparable else None))
    ]
    if problems and verify:
        raise FsbError(
            f"{raw.source}: {problems[0]}; replace it, or data.verify=false to accept it"
        )
    checked = bool(published) and raw.comparable and not problems
    return raw._replace(verified=raw.verified or checked)


def _difference(images: np.ndarray, count: int, sha256: str | None) -> str:
    if len(images) != count:
        return f"{len(images)} images where {count} were published"
    if sha256 and digest(images) != sha256:
        return "its images are not the published ones (their sha256 differs)"
    return ""


def digest(images: np.ndarray) -> str:
    """The sha256 of all pixels in order."""
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()


def carve(raw: Raw, valid: int) -> Raw:
    """``raw`` with the last ``valid`` training images made the valid split.

    Raises ``FsbError`` unless 0 < valid < the number of training images.
    """
    images = raw.splits["train"]
    if not 0 < valid < len(images):
        raise FsbError(f"data.valid={valid}: must lie between 1 and {len(images) - 1}")
    cut = len(images) - valid
    return raw._replace(splits={**raw.splits, "train": images[:cut], "valid": images[cut:]})
