"""Readers for the formats in which mini-ImageNet is distributed."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from fsb.data.find import locate
from fsb.data.pickles import load_arrays
from fsb.data.readers import archive_members, read_bytes, read_image, read_npz, reading
from fsb.errors import FsbError

SPLITS = ("train", "val", "test")
WANTED = (
    "miniimagenet84_subset.npz, mini-imagenet-cache-{train,val,test}.pkl, class folders with "
    "{train,val,test}.csv, train/ val/ test/ folders of classes, an archive mini-imagenet.{zip,tar,"
    "tar.gz}, or TFDS copy mini_imagenet/,"
)

_PLACES = (".", "miniimagenet", "mini-imagenet", "mini_imagenet", "miniImageNet")
_SUBSET = "miniimagenet84_subset.npz"
_SUBSET_SHA256 = "71f4e4676dc1c2a80924225126fdf59140091518b91cdd7072604184c054a87a"
_PICKLES = tuple(f"mini-imagenet-cache-{split}.pkl" for split in SPLITS)
_CSV = tuple(f"{split}.csv" for split in SPLITS)
_ARCHIVES = tuple(
    stem + ending
    for stem in ("mini-imagenet", "miniimagenet", "mini_imagenet", "miniImageNet")
    for ending in (".zip", ".tar", ".tar.gz", ".tgz")
)
_FORMATS = ("JPEG", "PNG")
_IMAGE = re.compile(r"\.(jpe?g|png)$", re.IGNORECASE)


class Part(NamedTuple):
    """One split: the class of each image, and an iterator of images (PIL or uint8 [H, W, 3])."""

    labels: list[str]
    images: Callable[[], Iterator[Any]]


class Source(NamedTuple):
    """parts: "train", "val" and "test"; path: what was read; verified: by checksum."""

    parts: dict[str, Part]
    path: Path
    verified: bool = False


@contextmanager
def opened(folder: Path) -> Iterator[Source | None]:
    """Opens the first format found in ``folder``, or None; archives are unpacked while open.

    Raises:
      FsbError: if a file is damaged, or an archive holds none of the formats.
    """
    source = _plain(folder, _PLACES)
    archive = None if source else _first_archive(folder)
    if archive is None:
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="fsb-") as inside:
        _unpack(archive, Path(inside))
        top = [path.name for path in Path(inside).iterdir() if path.is_dir()]
        source = _plain(Path(inside), (*_PLACES, *top))
        if source is None:
            raise FsbError(f"{archive}: holds no mini-ImageNet as pickles or class folders")
        yield source._replace(path=archive)


def _plain(folder: Path, places: tuple[str, ...]) -> Source | None:
    forms = (_subset, _pickles, _csv_folder, _split_folders)
    found = (form(folder / place) for place in places for form in forms)
    return next((source for source in found if source is not None), None)


def _subset(folder: Path) -> Source | None:
    path = folder / _SUBSET
    if not path.is_file():
        return None
    arrays = read_npz(path)
    with reading(path):
        jpeg, offsets, label = arrays["jpeg"], arrays["offsets"], arrays["label"]
        split_of = arrays["official_split"][label]
        parts = {}
        for split in SPLITS:
            chosen: Any = np.flatnonzero(split_of == split)
            files = [jpeg[offsets[i] : offsets[i + 1]] for i in chosen]
            parts[split] = Part(
                arrays["wnid"][label[chosen]].tolist(),
                partial(_decode_all, files, path),
            )
        with open(path, "rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == _SUBSET_SHA256
    return Source(parts, path, same)


def _pickles(folder: Path) -> Source | None:
    found = locate(_PICKLES, folder, (".",))
    if found is None:
        return None
    parts = {split: _pickle_part(path) for split, path in zip(SPLITS, found, strict=True)}
    return Source(parts, folder)


def _pickle_part(path: Path) -> Part:
    content = load_arrays(path)
    with reading(path):
        images, classes = content["image_data"], content["class_dict"]
        labels = [""] * len(images)
        for name, members in classes.items():
            for index in members:
                labels[index] = str(name)
        if images.dtype != np.uint8 or images.ndim != 4 or "" in labels:
            raise ValueError("image_data is not uint8 [N, H, W, 3] with a class each")
    return Part(labels, lambda: iter(images))


def _csv_folder(folder: Path) -> Source | None:
    found = locate(_CSV, folder, (".", "csv", "splits"))
    if found is None:
        return None
    parts = {split: _csv_part(path, folder) for split, path in zip(SPLITS, found, strict=True)}
    return Source(parts, folder)


def _csv_part(path: Path, folder: Path) -> Part:
    with reading(path):
        text = read_bytes(path).decode()
        rows = [(row["filename"], row["label"]) for row in csv.DictReader(io.StringIO(text))]
    listed: dict[Path, list[Path]] = {}
    files = [_image_file(folder, name, label, listed) for name, label in rows]
    return Part([label for _, label in rows], partial(map, _decode_file, files))


def _image_file(folder: Path, name: str, label: str, listed: dict[Path, list[Path]]) -> Path:
    """The file of one csv row, under its own name or ImageNet's.

    ``n0153282900000005.jpg`` is the fifth file, by number, of ImageNet's folder n01532829.
    """
    for base in (folder / "images", folder, folder / "train"):
        for path in (base / name, base / label / name):
            if path.is_file():
                return path
        home = base / label
        if home not in listed:
            listed[home] = sorted(_images_in(home), key=lambda path: _number(path.stem))
        rank = _number(Path(name).stem[len(label) :]) - 1
        if 0 <= rank < len(listed[home]):
            return listed[home][rank]
    raise FsbError(f"{folder}: no image {name} of class {label}, which the csv files list")


def _number(stem: str) -> int:
    return int((re.findall(r"\d+", stem) or ["0"])[-1])


def _split_folders(folder: Path) -> Source | None:
    if not all((folder / split).is_dir() for split in SPLITS):
        return None
    parts = {}
    for split in SPLITS:
        files = [path for home in sorted((folder / split).iterdir()) for path in _images_in(home)]
        labels = [path.parent.name for path in files]
        parts[split] = Part(labels, partial(map, _decode_file, files))
    return Source(parts, folder)


def _images_in(home: Path) -> list[Path]:
    if not home.is_dir():
        return []
    return sorted(path for path in home.iterdir() if _IMAGE.search(path.name) and path.is_file())


def _decode_file(path: Path) -> Any:
    return read_image(path, path, _FORMATS)


def _decode_all(files: list[np.ndarray], path: Path) -> Iterator[Any]:
    return (read_image(file.tobytes(), path, _FORMATS) for file in files)


def _first_archive(folder: Path) -> Path | None:
    paths = (folder / place / name for place in _PLACES for name in _ARCHIVES)
    return next((path for path in paths if path.is_file()), None)


def _unpack(archive: Path, into: Path) -> None:
    """Extracts regular files only, always below ``into`` whatever their names."""
    for name, content in archive_members(archive):
        parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..", ".")]
        if parts and (_IMAGE.search(name) or name.endswith((".csv", ".csv.gz", ".pkl"))):
            path = into.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
