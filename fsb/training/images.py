"""The images of a run: reconstructions and samples, as files and as arrays for a logger."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from fsb.storage.pictures import image_grid, reconstruction_grid, save_images, save_reconstructions
from fsb.training import evaluation
from fsb.training.setup import Parts
from fsb.types import Array, PyTree

ROWS, COLUMNS = 4, 10
COUNT = ROWS * COLUMNS
"""Images per picture. One row is computed at a time, so that a large model fits in memory."""


def draw(
    parts: Parts, variables: PyTree, split: str = "test"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images x of a split, their reconstructions, and samples, up to ``COUNT`` each, in [0, 1].

    A model without ``generate``, such as structured prediction, has no samples of its own: each row
    shows ten reconstructions of one image.
    """
    recipe, images = parts.recipe, getattr(parts.data, split)[:COUNT]
    keys = jax.random.split(parts.key("pictures"), (2, ROWS))

    def reconstruct(row: np.ndarray, key: Array) -> tuple[np.ndarray, np.ndarray]:
        found = evaluation.reconstruct(recipe, variables, recipe.layout.replicate(row), key)
        return np.asarray(found[0]), np.asarray(found[1])

    def sample(number: int, key: Array) -> np.ndarray:
        if hasattr(recipe.model, "generate"):
            return np.asarray(evaluation.generate(recipe, variables, key, COLUMNS))
        same = np.repeat(images[number % len(images)][None], COLUMNS, axis=0)
        return reconstruct(same, key)[1]

    rows = [images[start : start + COLUMNS] for start in range(0, len(images), COLUMNS)]
    shown = [reconstruct(row, key) for row, key in zip(rows, keys[0], strict=False)]
    x, mean = (np.concatenate(side) for side in zip(*shown, strict=True))
    samples = [sample(number, key) for number, key in enumerate(keys[1])]
    return x, mean, np.concatenate(samples)


def grids(parts: Parts, variables: PyTree) -> dict[str, np.ndarray]:
    """Both pictures as uint8 arrays."""
    x, mean, samples = draw(parts, variables)
    return {
        "reconstructions": reconstruction_grid(x, mean),
        "samples": image_grid(samples, ROWS, COLUMNS),
    }


def save(parts: Parts, variables: PyTree, folder: Path, title: str, split: str = "test") -> None:
    """Saves reconstructions.png and samples.png; every process must call it, the first writes."""
    x, mean, samples = draw(parts, variables, split)
    if jax.process_index() != 0:
        return
    save_reconstructions(folder / "reconstructions.png", x, mean, title)
    save_images(folder / "samples.png", samples, title, columns=COLUMNS)
