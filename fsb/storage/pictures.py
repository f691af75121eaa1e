"""Image grids: samples, and originals above their reconstructions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fsb.errors import FsbError
from fsb.storage.style import save

GAP = 128  # grey between images, visible next to black and white
INCHES = 7.0  # width of a figure


def image_grid(images: Any, rows: int, columns: int, gap: int = 1) -> np.ndarray:
    """Arranges images in a grid, row by row: uint8 [H', W'] or [H', W', 3].

    Args:
      images: values in [0, 1], [N, H, W], [N, H, W, 1] or [N, H, W, 3]; clipped, with NaN as black.
        Empty places in the grid are grey.
      gap: pixels between and around images.

    Raises:
      FsbError: if the shape is none of these, or there are more images than places.

    >>> image_grid(np.ones((2, 3, 3)), rows=1, columns=2).shape
    (5, 9)
    """
    images = np.asarray(images, np.float32)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if images.ndim not in (3, 4) or images.shape[3:] not in ((), (3,)):
        raise FsbError(f"images must be [N, H, W] or [N, H, W, 3], got {list(images.shape)}")
    if len(images) > rows * columns:
        raise FsbError(f"{len(images)} images do not fit in a {rows} x {columns} grid")
    height, width = images.shape[1] + gap, images.shape[2] + gap
    grid = np.full((rows * height + gap, columns * width + gap, *images.shape[3:]), GAP, np.uint8)
    pixels = np.round(np.clip(np.nan_to_num(images), 0, 1) * 255).astype(np.uint8)
    for place, image in enumerate(pixels):
        top, left = place // columns * height + gap, place % columns * width + gap
        grid[top : top + image.shape[0], left : left + image.shape[1]] = image
    return grid


def reconstruction_grid(originals: Any, reconstructions: Any, columns: int = 10) -> np.ndarray:
    """Alternating rows of originals and their reconstructions, as in ``image_grid``.

    Draws only complete rows, or a single row if there are fewer images than ``columns``.

    Raises:
      FsbError: if the two differ in shape or are empty.
    """
    originals, reconstructions = np.asarray(originals), np.asarray(reconstructions)
    if originals.shape != reconstructions.shape or not len(originals):
        raise FsbError(
            f"originals {list(originals.shape)} and reconstructions"
            f" {list(reconstructions.shape)} must have the same shape and at least one image"
        )
    columns = min(columns, len(originals))
    rows = len(originals) // columns
    whole = (rows, columns, *originals.shape[1:])
    pairs = [x[: rows * columns].reshape(whole) for x in (originals, reconstructions)]
    turns = np.stack(pairs, axis=1).reshape(-1, *originals.shape[1:])
    return image_grid(turns, 2 * rows, columns)


def save_reconstructions(
    path: str | Path, originals: Any, reconstructions: Any, title: str = "", columns: int = 10
) -> None:
    """Saves ``reconstruction_grid`` as a PNG with a label for each row."""
    grid = reconstruction_grid(originals, reconstructions, columns)
    rows = 2 * (len(originals) // min(columns, len(originals)))
    _save(path, grid, title, ["original", "reconstruction"] * (rows // 2))


def save_images(path: str | Path, images: Any, title: str = "", columns: int | None = None) -> None:
    """Saves images, shaped as for ``image_grid``, as a PNG; a square grid by default."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    _save(path, image_grid(images, math.ceil(len(images) / columns), columns), title)


def _save(path: str | Path, grid: np.ndarray, title: str, row_labels: Sequence[str] = ()) -> None:
    from matplotlib.figure import Figure

    margin, head = (1.15 if row_labels else 0.1), (0.4 if title else 0.1)
    wide = INCHES - margin - 0.1
    tall = wide * grid.shape[0] / grid.shape[1]
    if tall > 10.0:  # at most one page tall
        wide, tall = wide * 10.0 / tall, 10.0
    width, height = margin + wide + 0.1, tall + head + 0.1
    figure = Figure(figsize=(width, height), dpi=150)
    box = (margin / width, 0.1 / height, wide / width, tall / height)
    axes = figure.add_axes(box)
    axes.imshow(grid, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for row, label in enumerate(row_labels):
        place = 1 - (row + 0.5) / len(row_labels)
        axes.text(-0.01, place, label, transform=axes.transAxes, ha="right", va="center", size=9)
    if title:
        figure.text(0.5, 1 - 0.12 / height, title, ha="center", va="top", size=11)
    save(figure, path)
