"""MNIST with the fixed binarisation of Larochelle, used in older papers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from fsb.data.dataset import Dataset, files_reader, load
from fsb.data.prepared import fetch, prepared_reader
from fsb.data.raw import Published, Raw
from fsb.data.readers import read_bytes, read_npz, reading

_SPLITS = ("train", "valid", "test")
_AMAT = tuple(f"binarized_mnist_{split}.amat" for split in _SPLITS)
_PLACES = (".", "binarized_mnist", "raw/binarized_mnist", "mnist_static", "mnist")

_PUBLISHED: Published = {
    "train": (50000, "ea273910483323d4976d93ea94462ed72c0982c13e75c192944362010642c9af"),
    "valid": (10000, "a5d1888f93755b50d4f53c8a1469450bf62303b614864291bd5945faa60788cd"),
    "test": (10000, "a5856e8b2c3c02aeef98c756d8a62e519f620c9e203c86bb9bfff6c6e58d0844"),
}


def mnist_static(root: str | None = None, verify: bool = True, download: bool = False) -> Dataset:
    """Larochelle's fixed binarisation, uint8 {0, 255} [N, 28, 28]: 50000, 10000, 10000.

    Reads binarized_mnist.npz (packed bits ``<split>_bits`` [N, 98]), the three .amat text files,
    or a copy prepared by TFDS. The test split is sorted by class.

    Args:
      verify: if False, accepts files other than the published ones.
      download: whether to download missing files.

    Raises:
      FsbError: if no files are found, or they are damaged or not the published ones.

    Source: Larochelle & Murray 2011 (The Neural Autoregressive Distribution Estimator),
    https://proceedings.mlr.press/v15/larochelle11a.html.
    """
    in_tfds = {"train": "train", "valid": "validation", "test": "test"}
    return load(
        "mnist_static",
        [
            files_reader(["binarized_mnist.npz"], _PLACES, _unpack),
            files_reader(_AMAT, _PLACES, _read_amat_files),
            prepared_reader("binarized_mnist", in_tfds, _black),
        ],
        wanted="binarized_mnist.npz, binarized_mnist_{train,valid,test}.amat[.gz], or TFDS copy "
        "binarized_mnist/,",
        root=root,
        binarisation="static",
        seed=0,
        verify=verify,
        published=_PUBLISHED,
        download=partial(fetch, "binarized_mnist", _AMAT) if download else None,
    )


def _black(bits: np.ndarray) -> np.ndarray:
    return (bits > 0).astype(np.uint8) * np.uint8(255)


def _unpack(found: list[Path]) -> Raw:
    arrays = read_npz(found[0])
    with reading(found[0]):
        bits = {s: np.unpackbits(arrays[f"{s}_bits"], axis=1, count=784) for s in _SPLITS}
        splits = {split: _black(bits[split]).reshape(-1, 28, 28) for split in _SPLITS}
    return Raw(splits, str(found[0]))


def _read_amat_files(found: list[Path]) -> Raw:
    splits = {split: _read_amat(path) for split, path in zip(_SPLITS, found, strict=True)}
    return Raw(splits, str(found[0].parent))


def _read_amat(path: Path) -> np.ndarray:
    """Reads text of 784 digits 0 or 1 per line, separated by blanks, one image per line."""
    content = np.frombuffer(read_bytes(path), np.uint8)
    bits = content[(content == ord("0")) | (content == ord("1"))]
    blanks = np.isin(content, np.frombuffer(b" \r\n", np.uint8)).sum()
    with reading(path):
        if len(bits) + blanks != len(content):
            raise ValueError("it holds more than zeros and ones")
        return _black(bits - np.uint8(ord("0"))).reshape(-1, 28, 28)
