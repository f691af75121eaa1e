"""mini-ImageNet: 100 classes of ImageNet, 64 to train on, 16 and 20 to test on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from fsb.constraints import Count, Seed
from fsb.data.dataset import Dataset, load
from fsb.data.miniimagenet_sources import SPLITS, WANTED, Part, Source, opened
from fsb.data.prepared import examples, newest_version
from fsb.data.preprocess import Binarisation
from fsb.data.progress import track
from fsb.data.raw import Raw
from fsb.errors import FsbError, unknown

_CLASSES = {"train": 64, "val": 16, "test": 20}
_IMAGES = 60000

Pixels = Callable[[str], np.ndarray]


def miniimagenet(
    root: str | None = None,
    binarisation: Binarisation = "dequantised",
    seed: Seed = 0,
    size: Count = 64,
    split: Literal["classes", "within"] = "classes",
    verify: bool = True,
) -> Dataset:
    """mini-ImageNet (Ravi & Larochelle), uint8 [N, size, size, 3].

    split: "classes" trains on 64 classes, validates on 16 others and tests on 20 others;
        "within" uses the 64 training classes alone: of each class the first 90 % train, the next
        5 % validate and the last 5 % test. Papers on generative models seldom say which.
    size: 84 as published, or smaller or larger by area averaging.

    Reads the forms that ``fsb.data.miniimagenet_sources`` lists, or what TFDS prepared with
    ``fsb.data.tfds_miniimagenet``. ``notes`` says so where images of the 60000 are missing.
    Raises ``FsbError``: nothing found, damaged, a pickle that asks for more than arrays, or,
    unless ``verify=False``, other than 64/16/20 distinct classes.
    """
    if size < 1:
        raise FsbError(f"data.size={size}: must be at least 1 pixel")
    arrangements = {"classes": _by_classes, "within": _within_classes}
    if split not in arrangements:
        raise unknown("data.split", split, arrangements)
    arrange = arrangements[split]

    def read(folder: Path) -> Raw | None:
        with opened(folder) as source:
            return _collect(source, size, arrange, verify) if source else None

    def read_tfds(folder: Path) -> Raw | None:
        home = newest_version(folder / "mini_imagenet")
        return _collect(_prepared(home), size, arrange, verify) if home else None

    return load(
        "miniimagenet",
        [read, read_tfds],
        wanted=WANTED,
        root=root,
        binarisation=binarisation,
        seed=seed,
        verify=verify,
        arguments={"size": size, "split": split},
        can_download=False,
    )


def _collect(source: Source, size: int, arrange: Callable, verify: bool) -> Raw:
    counts = {split: len(set(part.labels)) for split, part in source.parts.items()}
    distinct = len({label for part in source.parts.values() for label in part.labels})
    if verify and (counts != _CLASSES or distinct != 100):
        raise FsbError(
            f"{source.path}: {counts} classes, {distinct} distinct, not 64/16/20; mend the split "
            "files, or data.verify=false to accept it"
        )
    found = sum(len(part.labels) for part in source.parts.values())
    notes = "" if found == _IMAGES else f"a subset: {found} of {_IMAGES} images"
    splits = arrange(lambda split: _pixels(source.parts[split], size, split), source)
    return Raw(splits, str(source.path), source.verified, notes)


def _by_classes(pixels: Pixels, source: Source) -> dict[str, np.ndarray]:
    ours = ("train", "valid", "test")
    return {name: pixels(split) for name, split in zip(ours, SPLITS, strict=True)}


def _within_classes(pixels: Pixels, source: Source) -> dict[str, np.ndarray]:
    """90, 5 and 5 % of each training class, in the order of the source."""
    labels = source.parts["train"].labels
    total, seen = Counter(labels), Counter[str]()
    place = np.empty(len(labels))  # of an image within its class, in [0, 1)
    for index, label in enumerate(labels):
        place[index] = seen[label] / total[label]
        seen[label] += 1
    images = pixels("train")
    cuts = {"train": (0.0, 0.9), "valid": (0.9, 0.95), "test": (0.95, 1.0)}
    return {name: images[(low <= place) & (place < high)] for name, (low, high) in cuts.items()}


def _pixels(part: Part, size: int, split: str) -> np.ndarray:
    """uint8 [N, size, size, 3]; a box filter averages areas, so nothing is aliased."""
    from PIL import Image

    out = np.empty((len(part.labels), size, size, 3), np.uint8)
    bar = track(part.images(), f"mini-ImageNet {split}", len(part.labels))
    for index, image in enumerate(bar):
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BOX)
        out[index] = image
    return out


def _prepared(home: Path) -> Source:
    """What ``fsb.data.tfds_miniimagenet`` prepared."""
    theirs = {"train": "train", "val": "validation", "test": "test"}
    parts = {
        ours: Part(
            [example["label"].decode() for example in examples(home, split, "label")],
            partial(_images, home, split),
        )
        for ours, split in theirs.items()
    }
    return Source(parts, home)


def _images(home: Path, split: str) -> Iterator[np.ndarray]:
    return (example["image"] for example in examples(home, split, "image"))
