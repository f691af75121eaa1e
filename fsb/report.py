"""The pictures of a run: reconstructions and samples, as files and as arrays for a logger."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from fsb import metrics, pictures
from fsb.assemble import Parts
from fsb.types import PyTree

COUNT = 40
"""Images in a picture."""


def draw(
    parts: Parts, variables: PyTree, split: str = "test"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images x of a split, their reconstructions, and samples, up to ``COUNT`` each, in [0, 1].

    The samples of a model without ``generate``, such as one of structured prediction, are further
    reconstructions of the first images.
    """
    data_key, model_key = jax.random.split(parts.key("pictures"))
    images = parts.recipe.layout.replicate(getattr(parts.data, split)[:COUNT])
    x, mean = metrics.reconstruct(parts.recipe, variables, images, data_key)
    if hasattr(parts.recipe.model, "generate"):
        samples = metrics.generate(parts.recipe, variables, model_key, COUNT)
    else:  # it needs an image to begin with: a row shows ten means of the same one
        few = jax.numpy.repeat(images[: COUNT // 10], 10, axis=0)
        samples = metrics.reconstruct(parts.recipe, variables, few, model_key)[1]
    return np.asarray(x), np.asarray(mean), np.asarray(samples)


def grids(parts: Parts, variables: PyTree) -> dict[str, np.ndarray]:
    """The pictures as uint8 arrays."""
    x, mean, samples = draw(parts, variables)
    return {
        "reconstructions": pictures.reconstruction_grid(x, mean),
        "samples": pictures.image_grid(samples, COUNT // 10, 10),
    }


def save(parts: Parts, variables: PyTree, folder: Path, title: str, split: str = "test") -> None:
    """Saves reconstructions.png and samples.png; all processes must call it, the first writes."""
    x, mean, samples = draw(parts, variables, split)
    if jax.process_index() != 0:
        return
    pictures.save_reconstructions(folder / "reconstructions.png", x, mean, title)
    pictures.save_images(folder / "samples.png", samples, title, columns=10)
