"""Your own images: arrays in a .npy or .npz file, a folder of image files, or a set of TFDS."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fsb.constraints import Count, Seed
from fsb.data.cache import SPLITS
from fsb.data.dataset import Dataset, files_reader, load
from fsb.data.prepared import prepared_reader
from fsb.data.preprocess import Binarisation
from fsb.data.raw import Raw
from fsb.data.readers import bounded, read_image, read_npz, reading, require_file
from fsb.errors import FsbError

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def arrays(
    file: str | None = None,
    binarisation: Binarisation = "dynamic",
    seed: Seed = 0,
    valid: Count | None = None,
    test: Count | None = None,
) -> Dataset:
    """Images in a file of arrays, uint8 [N, H, W] or [N, H, W, 3].

    Bool becomes 0 and 255, and floats in [0, 1] are rounded to multiples of 1 / 255.

    Args:
      file: an .npz file with the arrays train, test and maybe valid; or with a single array, or an
        .npy file, whose images a fixed permutation divides.
      valid, test: the images of these splits where the file does not have them; None is a tenth of
        those that are divided. Valid is taken from the end of train.

    Raises:
      FsbError: if there is no such file, its arrays are not such images, or too few for the splits.
    """
    if file is None:
        raise FsbError("data.file: give the .npz or .npy file of your images")
    path = Path(file).expanduser()
    if not path.is_file() or path.suffix not in (".npy", ".npz"):
        raise FsbError(f"data.file={file}: there is no such .npz or .npy file")

    def read(found: list[Path]) -> Raw:
        some = {name: _bytes(array, path) for name, array in _stored(found[0]).items()}
        return Raw(_divided(some, valid, test, path), str(path))

    return load(
        "arrays",
        [files_reader([path.name], ["."], read)],
        wanted=path.name,
        root=str(path.parent),
        binarisation=binarisation,
        seed=seed,
        verify=False,
        arguments={"file": path.name, "valid": valid, "test": test},
        can_download=False,
    )


def images(
    folder: str | None = None,
    binarisation: Binarisation = "dequantised",
    seed: Seed = 0,
    size: Count = 64,
    grey: bool = False,
    valid: Count | None = None,
    test: Count | None = None,
) -> Dataset:
    """PNG and JPEG files of a folder and the folders in it: their central squares, resized.

    Args:
      folder: its folders train, test and maybe valid are the splits; without them a fixed
        permutation of all files, sorted by name, is divided.
      size: of a side, in pixels; resampled by area averaging.
      grey: uint8 [N, size, size] in place of [N, size, size, 3].
      valid, test: as in ``arrays``.

    Raises:
      FsbError: if there is no such folder, a file is damaged, or there are too few for the splits.
    """
    if folder is None:
        raise FsbError("data.folder: give the folder of your images")
    home = Path(folder).expanduser()
    if not home.is_dir():
        raise FsbError(f"data.folder={folder}: there is no such folder")

    files = _files(home)

    def read(home: Path) -> Raw:
        some = {split: _decoded(paths, size, grey, home) for split, paths in files.items()}
        together = tuple(path for paths in files.values() for path in paths)
        return Raw(_divided(some, valid, test, home), str(home), files=together)

    return load(
        "images",
        [read],
        wanted="image files",
        root=str(home),
        binarisation=binarisation,
        seed=seed,
        verify=False,
        # A copy notices by itself when one of its files changes, but not a new one.
        arguments={
            "size": size,
            "grey": grey,
            "valid": valid,
            "test": test,
            "names": _names(files, home),
        },
        can_download=False,
    )


def tfds(
    name: str | None = None,
    root: str | None = None,
    binarisation: Binarisation = "dequantised",
    seed: Seed = 0,
    valid: Count = 1000,
    train: str = "train",
    test: str = "test",
) -> Dataset:
    """Images, all of one size, of a set that tensorflow-datasets has prepared.

    Args:
      name: of the set, as "cifar100", or "set/config".
      valid: images of the valid split, taken from the end of train.
      train, test: what TFDS calls these splits.

    Raises:
      FsbError: if the set is not prepared, or its images are damaged or of several sizes.
    """
    if name is None or not re.fullmatch(r"\w+(/[\w.-]*\w)?", name):
        raise FsbError(f"data.name={name}: give the name of a set of TFDS, as cifar100")
    return load(
        "tfds",
        [prepared_reader(name, {"train": train, "test": test})],
        wanted=f"{name}, prepared by TFDS",
        root=root,
        binarisation=binarisation,
        seed=seed,
        verify=False,
        valid=valid,
        arguments={"name": name, "train": train, "test": test},
        can_download=False,
    )


def _stored(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, without loading pickles."""
    if path.suffix == ".npz":
        return read_npz(path)
    with reading(path):
        array = np.load(require_file(path), mmap_mode="r", allow_pickle=False)
        bounded(array.nbytes, path)
        return {"all": np.asarray(array)}


def _bytes(array: np.ndarray, path: Path) -> np.ndarray:
    """Images as uint8."""
    if array.dtype == bool:
        return array * np.uint8(255)
    if not np.issubdtype(array.dtype, np.floating):
        return array
    if array.size and not (array.min() >= 0 and array.max() <= 1):  # NaN too
        raise FsbError(f"{path}: has floats out of [0, 1]; store uint8, or divide them")
    return np.round(array * 255).astype(np.uint8)


def _divided(
    some: dict[str, np.ndarray], valid: int | None, test: int | None, source: Path
) -> dict[str, np.ndarray]:
    """The three splits of what was found: named splits, or a single array."""
    if len(some) == 1:
        (array,) = some.values()
        if array.ndim:
            array = array[np.random.RandomState(0).permutation(len(array))]
        rest, last = _cut(array, test, "test", source)
        some = {"train": rest, "test": last}
    if not {"train", "test"} <= some.keys():
        found = ", ".join(sorted(some)) or "nothing"
        raise FsbError(
            f"{source}: has {found}; wanted are train, test and maybe valid, or only one"
        )
    if "valid" not in some:
        rest, last = _cut(some["train"], valid, "valid", source)
        some = {**some, "train": rest, "valid": last}
    return {split: some[split] for split in SPLITS}


def _cut(array: np.ndarray, count: int | None, split: str, source: Path) -> list[np.ndarray]:
    """All but the last ``count`` images, and these."""
    total = len(array) if array.ndim else 0
    count = max(1, total // 10) if count is None else count
    if not 0 < count < total:
        raise FsbError(f"{source}: data.{split}={count} of {total} images leaves none for train")
    return [array[: total - count], array[total - count :]]


def _files(home: Path) -> dict[str, list[Path]]:
    """The image files of each split, or all, sorted by name."""
    found = sorted(path for path in home.rglob("*") if path.suffix.lower() in FORMATS)
    own = [split for split in SPLITS if (home / split).is_dir()]
    if "train" not in own:
        return {"all": found}
    return {split: [path for path in found if home / split in path.parents] for split in own}


def _names(files: dict[str, list[Path]], home: Path) -> str:
    """A digest of the names of all files."""
    names = [str(path.relative_to(home)) for paths in files.values() for path in paths]
    return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()


def _decoded(paths: Sequence[Path], size: int, grey: bool, home: Path) -> np.ndarray:
    from PIL import Image

    if not paths:
        raise FsbError(f"{home}: has no {', '.join(FORMATS)} files where they are looked for")
    shape = (size, size) if grey else (size, size, 3)
    bounded(len(paths) * int(np.prod(shape)), home)
    out = np.empty((len(paths), *shape), np.uint8)
    for index, path in enumerate(paths):
        image = read_image(path, path, tuple(set(FORMATS.values())))
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = (left, top, left + side, top + side)
        image = image.convert("L") if grey else image
        out[index] = np.asarray(image.resize((size, size), Image.Resampling.BOX, box=square))
    return out
