"""Variance of BayesBiNN's gradient as derived, against the temperature and the number of draws."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from net import TRAIN, Data, first_signs, mean_loss

from fsb.bayesbinn import BinaryOptimizer, bayesbinn
from fsb.types import Array, PyTree

TAUS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
SAMPLES = (1, 4, 16)
AT = 0.1  # the temperature at which the samples vary


def variances(seed: int, width: int, batch: Data, draws: int) -> list[dict[str, float]]:
    """On one batch at |lam| = 1: first a row a temperature, then a row a number of samples.

    Predicted, as tau -> 0: E G^2 = 2 f'^2 / (3 tau (1 - mu^2)), with f' at weights that are signs;
    and 1/S of the variance of one for the mean of S.
    """
    key = jax.random.key(seed)
    lam = first_signs(key, width)

    def at(tau: float, samples: int) -> dict[str, float]:
        found = moments(bayesbinn(1e-3, tau, TRAIN), lam, batch, key, draws, samples)
        return {"temperature": tau, "samples": samples, **jax.tree.map(float, found)}

    slopes = at(1e-6, 1)["slopes"]
    rows = []
    for tau in TAUS:
        rows.append({"predicted": 2 * math.cosh(1) ** 2 / (3 * tau) * slopes, **at(tau, 1)})
    one = at(AT, 1)["variance"]
    return rows + [{"predicted": one / samples, **at(AT, samples)} for samples in SAMPLES]


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def moments(
    rule: BinaryOptimizer, lam: PyTree, batch: Data, key: Array, draws: int, samples: int
) -> dict[str, Array]:
    """Over ``draws`` of the mean of ``samples`` gradients, summed over the weights.

    Returns:
      variance: trace of the covariance of G.
      second_moment: E G^2, with its standard_error.
      slopes: E f'(w)^2, without J.
    """

    def one(key):
        weights, pull = jax.vjp(functools.partial(rule.weights, key), lam)
        slopes = jax.grad(mean_loss)(weights, batch)
        return pull(slopes)[0], optax.tree.norm(slopes, squared=True)

    def draw(key):
        more = lambda i, sums: jax.tree.map(jnp.add, sums, one(jax.random.fold_in(key, i)))
        nothing = (jax.tree.map(jnp.zeros_like, lam), jnp.float32(0))
        return jax.tree.map(lambda x: x / samples, jax.lax.fori_loop(0, samples, more, nothing))

    def add(carry, key):
        count, mean, spread = carry
        grads, slopes = draw(key)
        error = jax.tree.map(jnp.subtract, grads, mean)
        mean = jax.tree.map(lambda m, e: m + e / (count + 1), mean, error)
        spread += count / (count + 1) * optax.tree.norm(error, squared=True)
        return (count + 1, mean, spread), (optax.tree.norm(grads, squared=True), slopes)

    start = (jnp.float32(0), jax.tree.map(jnp.zeros_like, lam), jnp.float32(0))
    (_, _, spread), (squares, slopes) = jax.lax.scan(add, start, jax.random.split(key, draws))
    return {
        "variance": spread / (draws - 1),
        "second_moment": squares.mean(),
        "standard_error": squares.std() / np.sqrt(draws),
        "slopes": slopes.mean(),
    }
