"""The 8x8 digits, shipped with this package: no download is needed.

The file is the test set of "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998,
UCI Machine Learning Repository, doi:10.24432/C50P49, CC BY 4.0), as scikit-learn ships it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fsb.constraints import Seed
from fsb.data.dataset import Dataset
from fsb.data.preprocess import Binarisation, choose
from fsb.data.raw import digest
from fsb.data.readers import reading
from fsb.errors import FsbError

_FILE = Path(__file__).with_name("digits.csv.gz")
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
    return Dataset("digits", train, valid, test, preprocess, "UCI optical digits", verified)


def _grey() -> np.ndarray:
    """The grey levels of all images, uint8 [1797, 8, 8]."""
    with reading(_FILE):
        return np.loadtxt(_FILE, np.uint8, delimiter=",")[:, :64].reshape(-1, 8, 8)
