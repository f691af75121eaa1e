"""mini-ImageNet: 100 classes of ImageNet, 64 for training, 16 and 20 for testing."""

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
    """mini-ImageNet (Ravi & Larochelle 2017), uint8 [N, size, size, 3].

    Reads the formats listed in ``fsb.data.miniimagenet_sources``, or a copy that TFDS prepared with
    ``fsb.data.tfds_miniimagenet``. ``notes`` says if any of the 60000 images are missing.

    Args:
      size: 84 as published; other sizes are resampled by area averaging.
      split: "classes" trains on 64 classes, validates on 16 others and tests on 20 others;
        "within" uses only the 64 training classes: of each, the first 90 % train, the next 5 %
        validate and the last 5 % test. Papers on generative models seldom say which they use.
      verify: if False, accepts other than 64/16/20 distinct classes.

    Raises:
      FsbError: if no files are found, they are damaged, a pickle holds more than arrays, or the
        classes differ from the published ones.
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
            f"{source.path}: {counts} classes, {distinct} distinct, not 64/16/20; fix the split "
            "files, or set data.verify=false to accept them"
        )
    found = sum(len(part.labels) for part in source.parts.values())
    notes = "" if found == _IMAGES else f"a subset: {found} of {_IMAGES} images"
    splits = arrange(lambda split: _pixels(source.parts[split], size, split), source)
    return Raw(splits, str(source.path), source.verified, notes)


def _by_classes(pixels: Pixels, source: Source) -> dict[str, np.ndarray]:
    ours = ("train", "valid", "test")
    return {name: pixels(split) for name, split in zip(ours, SPLITS, strict=True)}


def _within_classes(pixels: Pixels, source: Source) -> dict[str, np.ndarray]:
    """90, 5 and 5 % of each training class, in source order."""
    labels = source.parts["train"].labels
    total, seen = Counter(labels), Counter[str]()
    place = np.empty(len(labels))  # relative position of an image in its class, in [0, 1)
    for index, label in enumerate(labels):
        place[index] = seen[label] / total[label]
        seen[label] += 1
    images = pixels("train")
    cuts = {"train": (0.0, 0.9), "valid": (0.9, 0.95), "test": (0.95, 1.0)}
    return {name: images[(low <= place) & (place < high)] for name, (low, high) in cuts.items()}


def _pixels(part: Part, size: int, split: str) -> np.ndarray:
    """uint8 [N, size, size, 3], resized with a box filter to avoid aliasing."""
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
    """The copy prepared by ``fsb.data.tfds_miniimagenet``."""
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
