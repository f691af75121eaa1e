"""Evaluation of a model: ELBO, KL, active units, importance-weighted bounds, images."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fsb.objectives import elbo, importance_weighted_bound, kl_per_layer, log_weight
from fsb.sites import Site, ancestral, collect_sites
from fsb.training.step import Recipe
from fsb.types import Array, Evidence, PyTree

ACTIVE = 0.01
"""A unit is active if its posterior probability has a larger variance over the data than this."""


def evidence_of(
    recipe: Recipe, variables: PyTree, x: Array, key: Array
) -> tuple[Evidence, tuple[Site, ...]]:
    """The evidence of x [B, ...] at one hard sample, never a noisy or relaxed one."""
    return collect_sites(lambda sample: recipe.model.apply(variables, x, sample), ancestral(key))


def evaluate(
    recipe: Recipe,
    variables: PyTree,
    images: np.ndarray,
    key: Array,
    batch: int = 512,
    note: Callable[[int], None] = lambda done: None,
) -> dict[str, float]:
    """Evaluates stored images [N, ...] with one hard sample each; notes how many are done.

    Sets that are evaluated with the same ``batch`` share one compiled program.

    Returns:
      elbo, elbo_se: the mean over the images and its standard error, in nats.
      kl_1, kl_2, ...: the KL of each layer, in nats, bottom first.
      active_1, ...: the number of active units of each layer.
      collapsed_layers: how many layers, from the top down, have no active unit.
    """
    total = None
    for number, (part, weight) in enumerate(_batches(recipe, images, batch)):
        sums = _sums(recipe, variables, part, weight, jax.random.fold_in(key, number))
        total = sums if total is None else _added(total, sums)
        note(min((number + 1) * batch, len(images)))
    sums = jax.device_get(total)
    count = len(images)
    mean = float(sums["elbo"]) / count
    spread = max(float(sums["elbo_squared"]) / count - mean**2, 0.0)
    out = {"elbo": mean, "elbo_se": math.sqrt(spread / max(count - 1, 1))}
    for layer, kl in enumerate(sums["kl"], start=1):
        out[f"kl_{layer}"] = float(kl) / count
    for layer, (first, second) in enumerate(sums["units"], start=1):
        variance = second / count - (first / count) ** 2
        out[f"active_{layer}"] = int((variance > ACTIVE).sum())
    alive = [layer for layer in range(1, len(sums["units"]) + 1) if out[f"active_{layer}"]]
    return out | {"collapsed_layers": len(sums["units"]) - max(alive, default=0)}


def operations(recipe: Recipe, variables: PyTree, images: Any, batch: int) -> float:
    """Floating-point operations of ``evaluate`` for one image, as the compiler counts them.

    Args:
      variables: arrays, or their shapes.
      images: stored images [N, ...]; only their shape matters.
    """
    batch = -(-min(batch, len(images)) // recipe.layout.size) * recipe.layout.size
    some = jax.ShapeDtypeStruct((batch, *images.shape[1:]), images.dtype)
    weight = jax.ShapeDtypeStruct((batch,), "float32")
    key = jax.eval_shape(lambda: jax.random.key(0))
    cost = _sums.lower(recipe, variables, some, weight, key).cost_analysis()
    return (cost or {}).get("flops", 0.0) / batch


def bound(
    recipe: Recipe,
    variables: PyTree,
    images: np.ndarray,
    key: Array,
    num_samples: int,
    batch: int = 128,
) -> tuple[float, float]:
    """The importance-weighted bound with K samples: its mean and standard error, in nats."""
    parts = [
        np.asarray(_bounds(recipe, variables, part, jax.random.fold_in(key, number), num_samples))
        for number, (part, _) in enumerate(_batches(recipe, images, min(batch, len(images))))
    ]
    values = np.concatenate(parts)[: len(images)].astype(np.float64)
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def _batches(recipe: Recipe, images: np.ndarray, batch: int) -> Iterator[tuple[Array, Array]]:
    """Batches of one shape; the last is padded, and the weights [B] of the padding are 0."""
    batch = -(-batch // recipe.layout.size) * recipe.layout.size
    for start in range(0, len(images), batch):
        index = np.arange(start, start + batch)
        part = images[np.minimum(index, len(images) - 1)]
        weight = (index < len(images)).astype(np.float32)
        yield recipe.layout.split(part), recipe.layout.split(weight)


@functools.partial(jax.jit, static_argnums=0)
def _sums(recipe: Recipe, variables: PyTree, images: Array, weight: Array, key: Array) -> dict:
    data_key, sample_key = jax.random.split(key)
    x = recipe.preprocess(data_key, images)
    evidence, sites = evidence_of(recipe, variables, x, sample_key)
    values = -elbo()(evidence)

    def over_batch(p):
        p = p.reshape(p.shape[0], -1)
        return (weight @ p, weight @ p**2)

    sums = {
        "elbo": weight @ values,
        "elbo_squared": weight @ values**2,
        "kl": tuple(weight @ kl for kl in kl_per_layer(evidence)),
        "units": tuple(over_batch(site.dist.decode(site.dist.mean(site.eta))) for site in sites),
    }
    return recipe.layout.gather(sums)


@functools.partial(jax.jit, static_argnums=(0, 4))
def _bounds(recipe: Recipe, variables: PyTree, images: Array, key: Array, num_samples: int):
    data_key, sample_key = jax.random.split(key)
    x = recipe.preprocess(data_key, images)

    def weights(key):
        return log_weight(evidence_of(recipe, variables, x, key)[0])

    return recipe.layout.gather(importance_weighted_bound(weights, sample_key, num_samples))


@jax.jit
def _added(left: PyTree, right: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, left, right)


@functools.partial(jax.jit, static_argnums=0)
def statistics(recipe: Recipe, variables: PyTree, images: Array, key: Array) -> PyTree:
    """The collection "statistics" of a model with BatchNorm, measured on one batch."""
    data_key, sample_key = jax.random.split(key)
    x = recipe.preprocess(data_key, images)
    measure = lambda sample: recipe.model.apply(variables, x, sample, mutable=["statistics"])
    return collect_sites(measure, ancestral(sample_key))[0][1]


@functools.partial(jax.jit, static_argnums=0)
def reconstruct(recipe: Recipe, variables: PyTree, images: Array, key: Array):
    """The preprocessed x, and E[x | z_1] at one posterior sample, both [B, ...]."""
    data_key, sample_key = jax.random.split(key)
    x = recipe.preprocess(data_key, images)
    return x, evidence_of(recipe, variables, x, sample_key)[0].mean


@functools.partial(jax.jit, static_argnums=(0, 3))
def generate(recipe: Recipe, variables: PyTree, key: Array, count: int) -> Array:
    """The means E[x | z_1] of ``count`` draws from the model."""
    return recipe.model.apply(variables, key, count, method="generate")
