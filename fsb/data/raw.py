"""What a reader found, and how it is checked before it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fsb.errors import FsbError


class Raw(NamedTuple):
    """The result of a reader.

    splits: uint8 images of each split.
    source: where they were found.
    verified: whether the bytes match the published checksums.
    notes: caveats to report with results.
    comparable: whether the images have the order of the published files, so checksums apply.
    files: what was read; a prepared copy is made again when one of them changes.
    """

    splits: dict[str, np.ndarray]
    source: str
    verified: bool = False
    notes: str = ""
    comparable: bool = True
    files: tuple[Path, ...] = ()


Published = Mapping[str, tuple[int, str]]
"""The number of images and the sha256 of all pixels, for each published split."""


def require_images(raw: Raw) -> Raw:
    """Refuses splits that are not images.

    Raises:
      FsbError: unless every split is uint8 [N, H, W] or [N, H, W, 3] and has at least one pixel.
    """
    for split, images in raw.splits.items():
        fits = images.dtype == np.uint8 and images.ndim in (3, 4) and images.shape[3:] in ((), (3,))
        if not fits or not images.size:
            found = f"{images.dtype} {list(images.shape)}"
            raise FsbError(f"{raw.source}: {split} is {found}, not uint8 [N, H, W] or [N, H, W, 3]")
    return raw


def check(raw: Raw, published: Published, verify: bool) -> Raw:
    """Sets ``verified`` of ``raw`` if every split has the published checksum.

    Raises:
      FsbError: if ``verify`` is true and a count or a comparable checksum differs.
    """
    problems = [
        problem
        for split, (count, sha256) in published.items()
        if (problem := _difference(raw.splits[split], count, sha256 if raw.comparable else None))
    ]
    if problems and verify:
        raise FsbError(f"{raw.source}: {problems[0]}; replace it, or set data.verify=false")
    checked = bool(published) and raw.comparable and not problems
    return raw._replace(verified=raw.verified or checked)


def _difference(images: np.ndarray, count: int, sha256: str | None) -> str:
    if len(images) != count:
        return f"{len(images)} images where {count} were published"
    if sha256 and digest(images) != sha256:
        return "its images are not the published ones (their sha256 differs)"
    return ""


def digest(images: np.ndarray) -> str:
    """The sha256 of all pixels, in order."""
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()


def carve(raw: Raw, valid: int) -> Raw:
    """Splits the last ``valid`` training images off as the valid split.

    Raises:
      FsbError: unless 0 < valid < the number of training images.
    """
    images = raw.splits["train"]
    if not 0 < valid < len(images):
        raise FsbError(f"data.valid={valid}: must lie between 1 and {len(images) - 1}")
    cut = len(images) - valid
    return raw._replace(splits={**raw.splits, "train": images[:cut], "valid": images[cut:]})
