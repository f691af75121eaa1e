"""Omniglot at 28x28, with the split of the IWAE paper (Burda et al. 2016, arXiv:1509.00519)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fsb.constraints import Count, Seed
from fsb.data.dataset import Dataset, files_reader, load
from fsb.data.preprocess import Binarisation
from fsb.data.raw import Published, Raw
from fsb.data.readers import read_mat, read_npz, reading

_PLACES = (".", "omniglot", "raw/omniglot", "OMNIGLOT", "datasets/OMNIGLOT")

_RECONSTRUCTED: Published = {
    "train": (24345, "61ba98f8401109dc09e54f807328b6922b0eb5d71e292ba60041b6fffdd8b636"),
    "test": (8070, "e4d40020031bdf8da47f53ffbadbe003fa7471347657b7200dec669b525935c4"),
}


def omniglot(
    root: str | None = None,
    binarisation: Binarisation = "dynamic",
    seed: Seed = 5,
    valid: Count = 1345,
    verify: bool = True,
) -> Dataset:
    """Omniglot, uint8 [N, 28, 28], ink = 255: 23000 train, 1345 valid (last of train), 8070 test.

    Reads chardata.mat of the IWAE code, or omniglot28_burda_reconstructed.npz, which has the same
    counts and very likely the same images in each split; ``notes`` then says "reconstructed split",
    which should be reported with results. ``binarisation="static"`` with the default ``seed`` is
    the fixed set. The omniglot of TFDS (105x105, another split) is a different data set and is not
    read.

    Args:
      verify: if False, accepts other than the published counts.

    Raises:
      FsbError: if no files are found, or they are damaged or do not have the published counts.
    """

    return load(
        "omniglot",
        [
            files_reader(["chardata.mat"], _PLACES, _load_mat),
            files_reader(["omniglot28_burda_reconstructed.npz"], _PLACES, _load_npz),
        ],
        wanted="chardata.mat or omniglot28_burda_reconstructed.npz",
        root=root,
        binarisation=binarisation,
        seed=seed,
        verify=verify,
        valid=valid,
        published=_RECONSTRUCTED,
        can_download=False,
    )


def _load_npz(found: list[Path]) -> Raw:
    arrays = read_npz(found[0])
    with reading(found[0]):
        splits = {split: arrays[f"x_{split}"] for split in ("train", "test")}
    return Raw(splits, str(found[0]), notes="reconstructed split")


def _load_mat(found: list[Path]) -> Raw:
    """Columns of 784 floats in [0, 1], each image in column-major order."""
    content = read_mat(found[0], ["data", "testdata"])
    with reading(found[0]):
        splits = {"train": _upright(content["data"]), "test": _upright(content["testdata"])}
    return Raw(splits, str(found[0]), comparable=False)


def _upright(columns: np.ndarray) -> np.ndarray:
    return np.round(columns.T.reshape(-1, 28, 28).swapaxes(1, 2) * 255).astype(np.uint8)
