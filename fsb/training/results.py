"""What a run is judged by on a split of its data: bounds and bits per dimension."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from fsb.objectives import bits_per_dimension
from fsb.training import evaluation
from fsb.training.setup import KEPT, Parts
from fsb.training.step import Recipe, TrainState, first_state
from fsb.types import PyTree

MOST = 10_000
OPERATIONS = {"cpu": 1e12}
MOST_STEPS = 100
MOST_DRAWS = 10
OPERATIONS_OF_A_CALL = {"cpu": 2e11}
"""Floating-point operations, by backend; others do a thousand times as many in the time."""


def subset(images: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of the images, evenly spaced, since a set may be sorted by class."""
    if len(images) <= most:
        return images
    return images[np.linspace(0, len(images) - 1, most).round().astype(int)]


def affordable(parts: Parts, config: Mapping[str, Any]) -> dict[str, int]:
    """What fits the size of the network, for those of these keys that are None.

    eval_examples: 10,000, or fewer where the evaluation of these would take more than
      ``OPERATIONS``: half a minute on two cores of a CPU for the three splits, and less on an
      accelerator.
    gradient_draws: 10, or fewer by the same measure: each costs a step. 0 if not even two fit.
    steps_per_call: 100, or fewer where these would take more than some seconds, so that progress
      is shown and signals are obeyed. The numbers do not depend on it.
    """
    keys = {"eval_examples", "gradient_draws", "steps_per_call"}
    unset = keys & {key for key, value in config.items() if value is None}
    if not unset:
        return {}
    images = jax.ShapeDtypeStruct(parts.data.train.shape, parts.data.train.dtype)
    one = _operations(parts.recipe, images, parts.batch_size, config["eval_batch_size"])
    backend = jax.default_backend()
    step = 3 * parts.batch_size * one  # forward, and backward in activations and parameters
    most = OPERATIONS.get(backend, 1e15)
    draws = min(MOST_DRAWS, int(most / step))
    fits = {
        "eval_examples": max(1, min(MOST, int(most / one / 3))),
        "gradient_draws": draws if draws > 1 else 0,
        "steps_per_call": max(
            1, min(MOST_STEPS, int(OPERATIONS_OF_A_CALL.get(backend, 2e14) / step))
        ),
    }
    return {name: fits[name] for name in unset}


@functools.lru_cache(maxsize=KEPT)
def _operations(
    recipe: Recipe, images: jax.ShapeDtypeStruct, batch_size: int, eval_batch_size: int
) -> float:
    """Those of one image in an evaluation; the jobs of a sweep count them once."""
    probe = jax.ShapeDtypeStruct((batch_size, *images.shape[1:]), images.dtype)
    mean = jax.ShapeDtypeStruct(images.shape[1:], "float32")
    state = jax.eval_shape(functools.partial(first_state, recipe), np.uint32(0), probe, mean)
    found, key = {"params": state.params, "constants": state.constants}, jax.random.key(0)
    if getattr(recipe.model, "mixes_examples", False):
        measure = lambda found: evaluation.statistics(recipe, found, probe, key)
        found |= jax.eval_shape(measure, found)
    return max(evaluation.operations(recipe, found, images, eval_batch_size), 1.0)


def variables(parts: Parts, state: TrainState, batch: int = 512) -> PyTree:
    """The variables that evaluation applies the model to.

    A model with BatchNorm gets its statistics from ``batch`` training images.
    """
    found = {"params": state.params, "constants": state.constants}
    if getattr(parts.recipe.model, "mixes_examples", False):
        count = parts.recipe.layout.size
        images = subset(parts.data.train, max(1, batch // count) * count)
        batch_of = parts.recipe.layout.split(images[: len(images) // count * count])
        found |= evaluation.statistics(parts.recipe, found, batch_of, parts.key("statistics"))
    return found


def bounds(
    parts: Parts, now: PyTree, samples: Sequence[int], split: str, batch: int = 128
) -> dict[str, float]:
    """The K-sample bounds of a split for each K in ``samples``, with standard errors, in nats."""
    out: dict[str, float] = {}
    for count in samples:
        # With one key for all K, the noise of the data is the same and the bounds are comparable.
        images, key = getattr(parts.data, split), parts.key("evaluation")
        mean, error = evaluation.bound(parts.recipe, now, images, key, count, batch)
        out |= {f"{split}_bound_{count}": mean, f"{split}_bound_{count}_se": error}
    return out


def bits(parts: Parts, elbo: float, name: str) -> dict[str, float]:
    """Bits per dimension under ``name``; empty where the likelihood is not one of 8-bit levels."""
    offset = parts.data.preprocess.bits_offset
    if offset is None:
        return {}
    return {name: float(bits_per_dimension(elbo, math.prod(parts.data.shape), offset))}
