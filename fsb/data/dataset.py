"""Data sets: three splits of 8-bit images and their preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fsb.data import cache, find
from fsb.data.preprocess import Preprocess, choose
from fsb.data.raw import Published, Raw, carve, check, require_images

Reader = Callable[[Path], Raw | None]
"""``reader(folder) -> Raw``, or None if the folder does not hold its files."""


@dataclass(frozen=True)
class Dataset:
    """Images and their preprocessing.

    name: the name in the configuration.
    train, valid, test: uint8 [N, H, W] or [N, H, W, C]; read-only, possibly memory-mapped.
    preprocess: how bytes become x, and the likelihood that suits x.
    source: the files that the images came from.
    verified: whether the images match their published checksums.
    notes: caveats to report with results; empty if there are none.
    cache: folder of the prepared copy; None if there is none.
    """

    name: str
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    preprocess: Preprocess
    source: str = ""
    verified: bool = False
    notes: str = ""
    cache: Path | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, (H, W) or (H, W, C)."""
        return self.train.shape[1:]

    @cached_property
    def mean(self) -> np.ndarray:
        """E[x] over the training images and the noise, float32, shaped like one image."""
        total = np.zeros(self.shape)
        step = max(1, 2**24 // int(np.prod(self.shape)))  # a few tens of MB at a time
        for at in range(0, len(self.train), step):
            total += self.preprocess.expect(self.train[at : at + step]).sum(0, dtype=np.float64)
        return (total / len(self.train)).astype(np.float32)


def files_reader(
    names: Sequence[str], places: Sequence[str], read: Callable[[list[Path]], Raw]
) -> Reader:
    """A reader that applies ``read`` to the files ``names``, if one of ``places`` has them all."""

    def reader(folder: Path) -> Raw | None:
        found = find.locate(names, folder, places)
        return read(found)._replace(files=tuple(found)) if found else None

    return reader


def load(
    name: str,
    readers: Sequence[Reader],
    *,
    wanted: str,
    root: str | None,
    binarisation: str,
    seed: int,
    verify: bool,
    valid: int | None = None,
    arguments: Mapping[str, Any] | None = None,
    published: Published | None = None,
    system: Sequence[str] = (),
    download: Callable[[], Path] | None = None,
    can_download: bool = True,
) -> Dataset:
    """Opens the prepared copy of a data set, or prepares it from the first files found.

    Tries every reader in every folder of ``find.folders``, and finally in the one that
    ``download()`` fills. The result is checked against ``published``, and its last ``valid``
    training images become the valid split.

    Args:
      wanted: names of the files, for the error if there are none.
      arguments: those that change the stored bytes, besides ``valid``, ``verify`` and the
        ``binarisation`` with its ``seed``.

    Raises:
      FsbError: if no files are found, or they are damaged or not the published ones.
    """
    preprocess = choose(binarisation, seed)
    fixed = {"static": seed} if binarisation == "static" else {}
    keys = {"valid": valid, "verify": verify, **(arguments or {}), **fixed}

    def read() -> Raw:
        where = find.folders(root, name, system)
        found = _first(readers, where)
        if found is None and download is not None:
            found = _first(readers, [download()])
        if found is None:
            raise find.missing(name, wanted, where, can_download)
        found = check(require_images(found), published or {}, verify)
        if valid is not None:
            found = carve(found, valid)
        stored = {
            split: preprocess.store(found.splits[split], number)
            for number, split in enumerate(cache.SPLITS)
        }
        return found._replace(splits=stored)

    if root is not None:
        find.folders(root, name)  # a missing root is an error even if a cache exists
    splits, meta, folder = cache.cached(name, keys, root, read)
    return Dataset(
        name,
        splits["train"],
        splits["valid"],
        splits["test"],
        preprocess,
        source=meta["source"],
        verified=meta["verified"],
        notes=meta["notes"],
        cache=folder,
    )


def _first(readers: Sequence[Reader], where: Sequence[Path]) -> Raw | None:
    found = (reader(folder) for folder in where for reader in readers)
    return next((raw for raw in found if raw is not None), None)
