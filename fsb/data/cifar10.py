"""CIFAR-10, from its binary version; the Python version is a pickle and is not read."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from fsb.constraints import Count, Seed
from fsb.data.dataset import Dataset, files_reader, load
from fsb.data.prepared import fetch, prepared_reader
from fsb.data.preprocess import Binarisation
from fsb.data.raw import Published, Raw
from fsb.data.readers import archive_members, read_bytes, read_image, reading

_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_FILES = (*_TRAIN, "test_batch.bin")
_ARCHIVE = "cifar-10-binary.tar.gz"
_TILES = (*(f"train_{number}.webp" for number in range(5)), "test.webp")
_PLACES = ("cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "raw/cifar10", ".")

_PUBLISHED: Published = {
    "train": (50000, "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a"),
    "test": (10000, "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04"),
}


def cifar10(
    root: str | None = None,
    binarisation: Binarisation = "dequantised",
    seed: Seed = 0,
    valid: Count = 5000,
    verify: bool = True,
    download: bool = False,
) -> Dataset:
    """CIFAR-10, uint8 [N, 32, 32, 3]: 45000 train, 5000 valid (the last of train), 10000 test.

    Reads cifar-10-batches-bin/, cifar-10-binary.tar.gz, tiles train_[0-4].webp with test.webp
    (100 x 100 images each), or a copy prepared by TFDS.

    Args:
      verify: if False, accepts files other than the published ones.

    Raises:
      FsbError: if no files are found, or they are damaged or not the published ones.
    """
    return load(
        "cifar10",
        [
            files_reader(_FILES, _PLACES, lambda found: _joined(map(_read_bin, found), found)),
            files_reader([_ARCHIVE], _PLACES, lambda found: _joined(_read_tar(found[0]), found)),
            files_reader(_TILES, _PLACES, lambda found: _joined(map(_read_tile, found), found)),
            prepared_reader("cifar10"),
        ],
        wanted=f"cifar-10-batches-bin/, {_ARCHIVE}, train_[0-4].webp tiles, or TFDS copy cifar10/,",
        root=root,
        binarisation=binarisation,
        seed=seed,
        verify=verify,
        valid=valid,
        published=_PUBLISHED,
        download=partial(fetch, "cifar10", [_ARCHIVE]) if download else None,
    )


def _joined(batches: Iterable[np.ndarray], found: list[Path]) -> Raw:
    *train, test = batches
    source = found[0] if len(found) == 1 else found[0].parent
    return Raw({"train": np.concatenate(train), "test": test}, str(source))


def _records(content: bytes) -> np.ndarray:
    """Records of one label and 3 x 32 x 32 bytes, in colour planes."""
    pixels = np.frombuffer(content, np.uint8).reshape(-1, 3073)[:, 1:]
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def _read_bin(path: Path) -> np.ndarray:
    with reading(path):
        return _records(read_bytes(path))


def _read_tar(path: Path) -> list[np.ndarray]:
    with reading(path):
        members = ((name.rsplit("/", 1)[-1], content) for name, content in archive_members(path))
        files = {name: _records(content) for name, content in members if name in _FILES}
        return [files[name] for name in _FILES]


def _read_tile(path: Path) -> np.ndarray:
    with reading(path):
        tile = np.asarray(read_image(path, path, ["WEBP"]))
        rows, columns = tile.shape[0] // 32, tile.shape[1] // 32
        return tile.reshape(rows, 32, columns, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
