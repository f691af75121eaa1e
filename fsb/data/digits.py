"""The 8x8 digits that ship with scikit-learn; needs no file and no network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from fsb.constraints import Seed
from fsb.data.dataset import Dataset
from fsb.data.preprocess import Binarisation, choose
from fsb.data.readers import digest, reading
from fsb.errors import FsbError

_TRAIN, _VALID = 1437, 180  # of 1797; the remaining 180 are the test split
_SHA256 = "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"


def digits(
    root: str | None = None, binarisation: Binarisation = "dynamic", seed: Seed = 0
) -> Dataset:
    """The UCI optical digits, uint8 [N, 8, 8]: 1437 train, 180 valid, 180 test.

    Grey levels 0..16 are mapped to 0..255; the split is a fixed permutation.

    Args:
      root: must be None, as there is no file to look for.
      binarisation: a name in ``fsb.data.preprocess``.
      seed: of the "static" binarisation.

    Raises:
      FsbError: if ``binarisation`` is unknown or ``root`` is given.

    >>> digits().train.shape
    (1437, 8, 8)
    """
    if root is not None:
        raise FsbError(f"data.root={root}: digits ships with scikit-learn and takes no folder")
    preprocess = choose(binarisation, seed)
    grey = _grey()
    order = np.random.RandomState(0).permutation(len(grey))
    images = np.round(grey[order] * (255 / 16)).astype(np.uint8)
    parts = np.split(images, [_TRAIN, _TRAIN + _VALID])
    train, valid, test = (preprocess.store(part, number) for number, part in enumerate(parts))
    verified = digest(grey) == _SHA256
    return Dataset("digits", train, valid, test, preprocess, "scikit-learn", verified)


def _grey() -> np.ndarray:
    """Reads scikit-learn's file without importing it, which would take seconds."""
    package = importlib.util.find_spec("sklearn")
    path = Path(str(package and package.origin)).parent / "datasets/data/digits.csv.gz"
    if not path.is_file():  # another layout of scikit-learn
        from sklearn.datasets import load_digits

        return load_digits().images.astype(np.uint8)
    with reading(path):
        return np.loadtxt(path, np.uint8, delimiter=",")[:, :64].reshape(-1, 8, 8)
