"""The variants that are timed: train steps, and their matrix products alone."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from omegaconf import DictConfig

from fsb import estimators, optimizers
from fsb.data.preprocess import Preprocess, dynamic
from fsb.errors import unknown
from fsb.networks import BernoulliLikelihood, vae
from fsb.objectives import elbo
from fsb.runtime import devices
from fsb.training.step import Recipe, TrainState, first_state, run_steps
from fsb.types import Array, Estimator, PyTree

SHAPE = (28, 28)
IMAGES = 2000

Chunk = Callable[[], None]
"""Runs one chunk of steps and waits until it has finished."""


def no_sampling() -> Estimator:
    """The same network without noise: every site is at its mean, which is differentiated."""

    def draw(noise, eta, dist):
        mean = dist.mean(eta)
        return mean, mean

    return estimators.local(draw)


def _needs_nothing(factory: Callable) -> bool:
    return all(p.default is not p.empty for p in inspect.signature(factory).parameters.values())


SELF_CONTAINED: dict[str, Callable[[], Estimator]] = {
    name: getattr(estimators, name)
    for name in estimators.__all__
    if _needs_nothing(getattr(estimators, name))
} | {"debias": lambda: estimators.debias(estimators.mve(8.0))}
"""The estimators that need no argument, and ``debias`` with the rule of its configuration; the
others are ``local`` and what combines estimators."""


def chosen(names: Any) -> dict[str, Estimator]:
    """Estimators of the default settings by name; "all" are those in ``SELF_CONTAINED``.

    Raises:
      FsbError: if a name is unknown.
    """
    names = SELF_CONTAINED if names == "all" else names
    for number, name in enumerate(names):
        if name not in SELF_CONTAINED:
            raise unknown(f"estimators[{number}]", name, SELF_CONTAINED)
    return {name: SELF_CONTAINED[name]() for name in names}


VARIANTS: dict[str, Callable[[], Estimator]] = {
    "no sampling": no_sampling,
    "st": estimators.st,
    "deterministic_st": estimators.deterministic_st,
    "darn": estimators.darn,
    "foust": estimators.foust,
    "gumbel_softmax": estimators.gumbel_softmax,
    "st_gumbel_softmax": estimators.st_gumbel_softmax,
}


def images(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Random 8-bit images, since their content does not change the time."""
    return np.random.default_rng(0).integers(0, 256, (IMAGES, *shape), np.uint8)


def vae_recipe(config: DictConfig, estimator: Estimator) -> Recipe:
    """The train step of the VAE that the configuration describes."""
    model = vae(SHAPE, BernoulliLikelihood(), layers=config.layers, width=config.width)
    return recipe_of(estimator, model, dynamic())


def recipe_of(estimator: Estimator, model: Any, preprocess: Preprocess) -> Recipe:
    """The train step of a model, with SGD, and Adam for what the estimator learns."""
    return Recipe(
        model=model,
        objective=elbo(),
        preprocess=preprocess.apply,
        estimator=estimator,
        optimizer=optimizers.sgd(1e-4),
        control_optimizer=optimizers.adam(1e-3),
        layout=devices.layout(1),
    )


def train_chunk(
    config: DictConfig, estimator: Estimator, model: Any, preprocess: Preprocess
) -> Chunk:
    """``steps`` train steps of ``batch_size`` images each, exactly as ``fsb.train`` runs them."""
    return recipe_chunk(config, recipe_of(estimator, model, preprocess))


def recipe_chunk(config: DictConfig, recipe: Recipe) -> Chunk:
    """``train_chunk`` of a recipe."""
    shape, replicated = recipe.model.shape, recipe.layout.replicated
    pool = images(shape)
    start = jax.jit(first_state, static_argnums=(0, 1), out_shardings=replicated)
    state = start(recipe, 0, pool[: config.batch_size], jnp.full(shape, 0.5))
    return steps_chunk(recipe, state, pool, config.batch_size, config.steps)


def steps_chunk(
    recipe: Recipe, state: TrainState, pool: np.ndarray, batch_size: int, steps: int
) -> Chunk:
    """``steps`` train steps on random batches of images that are stored on the device."""
    rows = np.random.default_rng(1).integers(0, len(pool), (steps, batch_size))
    stored = recipe.layout.replicate(pool)
    indices = recipe.layout.replicate(rows.astype(np.int32))

    def chunk():
        nonlocal state
        state = jax.block_until_ready(run_steps(recipe, state, stored, indices, steps))

    return chunk


def matrix_products(config: DictConfig) -> Chunk:
    """Only the matrix products of a step, in one compiled loop as the steps are."""
    sizes = layer_sizes(config)
    keys = jax.random.split(jax.random.key(0), len(sizes) + 1)
    weights = tuple(
        jax.random.normal(key, size) / math.sqrt(size[0])
        for key, size in zip(keys[1:], sizes, strict=True)
    )
    x = jax.random.normal(keys[0], (config.batch_size, sizes[0][0]))

    def chunk():
        jax.block_until_ready(products_loop(weights, x, config.steps))

    return chunk


@jax.jit
def products_loop(weights: tuple[Array, ...], x: Array, count: Array) -> PyTree:
    """``count`` times the products forward, and backward in the weights and the activations.

    The output of one iteration is the input of the next, and the products in the weights are
    returned, so the compiler can neither drop a product nor move it out of the loop.

    Args:
      weights: of layers whose shapes chain; the last has as many outputs as the first inputs.
      x: [B, inputs].
      count: the number of iterations.
    """

    def body(_, carry):
        inputs = [carry[0]]
        for weight in weights:
            inputs.append(inputs[-1] @ weight)
        output = cotangent = inputs.pop()
        products = []
        for layer in reversed(range(len(weights))):
            products.append(inputs[layer].T @ cotangent)
            if layer:  # the derivative in the data is not needed
                cotangent = cotangent @ weights[layer].T
        return output, tuple(reversed(products))

    return jax.lax.fori_loop(0, count, body, (x, weights))


def layer_sizes(config: DictConfig) -> list[tuple[int, int]]:
    """The shapes of the weight matrices of the network, in an order in which they chain."""
    width, pixels = config.width, int(np.prod(SHAPE))
    inner = [(width, width)] * (2 * 3 * config.layers - 2)
    return [(pixels, width), *inner, (width, pixels)]
