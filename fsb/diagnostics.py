"""Bias and variance of estimators, measured against the exact gradient."""

from __future__ import annotations

import functools

import jax

from fsb.estimators import exact
from fsb.gradients import value_and_grad
from fsb.types import Array, Estimator, FsbError, Loss, PyTree


def sample_gradients(
    estimator: Estimator,
    loss: Loss,
    params: PyTree,
    key: Array,
    num_samples: int,
    chunk_size: int = 4096,
) -> PyTree:
    """Independent draws of the gradient estimate.

    Args:
      num_samples: number of draws, each with its own key split from ``key``.
      chunk_size: draws evaluated side by side; the rest of the memory is the result itself.

    Returns:
      Gradients shaped like the params with a leading axis [num_samples].

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> fsb.sample_gradients(fsb.st(), loss, jnp.zeros((1, 2)), jax.random.key(0), 10).shape
    (10, 1, 2)
    """
    if num_samples < 1 or chunk_size < 1:
        raise FsbError(f"num_samples={num_samples}, chunk_size={chunk_size}: both must be positive")
    return _sample_gradients(estimator, loss, params, key, num_samples, chunk_size)


@functools.partial(jax.jit, static_argnums=(0, 1, 4, 5))
def _sample_gradients(estimator, loss, params, key, num_samples, chunk_size):
    estimate = value_and_grad(estimator, loss)
    keys = jax.random.split(key, num_samples)
    return jax.lax.map(lambda k: estimate(params, k)[1], keys, batch_size=chunk_size)


def exact_gradient(loss: Loss, params: PyTree, max_states: int = 2**16) -> PyTree:
    """The gradient of E[mean of the losses], by enumeration of all sites, any number deep.

    Raises:
      FsbError: if the sites have more than ``max_states`` joint states.

    >>> import jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta)[:, 0]
    >>> fsb.exact_gradient(loss, jnp.zeros((1, 1)))
    Array([[0.25]], dtype=float32)
    """
    return value_and_grad(exact(max_states), loss)(params, jax.random.key(0))[1]
