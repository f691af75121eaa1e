"""MNIST and Fashion-MNIST, from their published idx files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fsb.constraints import Count, Seed
from fsb.data.dataset import Dataset, files_reader, load
from fsb.data.prepared import fetch, prepared_reader
from fsb.data.preprocess import Binarisation
from fsb.data.raw import Published, Raw
from fsb.data.readers import read_idx

_FILES = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")

_MNIST: Published = {
    "train": (60000, "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757"),
    "test": (10000, "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161"),
}
_FASHION: Published = {
    "train": (60000, "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012"),
    "test": (10000, "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a"),
}


def mnist(
    root: str | None = None,
    binarisation: Binarisation = "dynamic",
    seed: Seed = 0,
    valid: Count = 10000,
    verify: bool = True,
    download: bool = False,
) -> Dataset:
    """MNIST, uint8 [N, 28, 28]: 50000 train, 10000 valid (the last of train), 10000 test.

    Reads the idx files, gzipped or not, or a copy prepared by TFDS.

    Args:
      binarisation: a name in ``fsb.data.preprocess``.
      seed: of the "static" binarisation.
      verify: if False, accepts files other than the published ones.
      download: whether to download missing files.

    Raises:
      FsbError: if no files are found, or they are damaged or not the published ones.
    """
    places = ("raw/mnist", "mnist", "MNIST/raw", "MNIST", ".")
    return _idx_dataset(
        "mnist", _MNIST, places, (), root, binarisation, seed, valid, verify, download
    )


def fashion_mnist(
    root: str | None = None,
    binarisation: Binarisation = "dynamic",
    seed: Seed = 0,
    valid: Count = 10000,
    verify: bool = True,
    download: bool = False,
) -> Dataset:
    """Fashion-MNIST, with the format, splits, arguments and errors of ``mnist``.

    Also looks in the folder of Debian's package dataset-fashion-mnist.
    """
    places = ("raw/fashion_mnist", "fashion_mnist", "fashion-mnist", "FashionMNIST/raw", ".")
    system = ("/usr/share/datasets/fashion-mnist",)
    return _idx_dataset(
        "fashion_mnist", _FASHION, places, system, root, binarisation, seed, valid, verify, download
    )


def _idx_dataset(
    name: str,
    published: Published,
    places: Sequence[str],
    system: Sequence[str],
    root: str | None,
    binarisation: Binarisation,
    seed: int,
    valid: int,
    verify: bool,
    download: bool,
) -> Dataset:
    def read(found: list[Path]) -> Raw:
        train, test = (read_idx(path) for path in found)
        return Raw({"train": train, "test": test}, str(found[0].parent))

    return load(
        name,
        [files_reader(_FILES, places, read), prepared_reader(name)],
        wanted=f"{_FILES[0]}[.gz] with {_FILES[1]}[.gz], or TFDS copy {name}/,",
        root=root,
        binarisation=binarisation,
        seed=seed,
        verify=verify,
        valid=valid,
        published=published,
        system=system,
        download=partial(fetch, name, [f"{file}.gz" for file in _FILES]) if download else None,
    )
