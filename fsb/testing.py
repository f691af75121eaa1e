"""Checks for authors of distributions and estimators; each finding is one line."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fsb.diagnostics import exact_gradient, sample_gradients
from fsb.distributions import Bernoulli
from fsb.distributions.check import SIGMAS, check_distribution
from fsb.errors import FsbError
from fsb.estimators import reinforce
from fsb.gradients import init, stateful_value_and_grad
from fsb.types import Array, Distribution, Estimator, Loss, PyTree

__all__ = ["check_distribution", "check_estimator"]


def check_estimator(
    estimator: Estimator,
    dist: Distribution = Bernoulli(-1.0, 1.0),  # noqa: B008
    params: PyTree = None,
    loss: Loss | None = None,
    unbiased: bool = True,
    draws: int = 4096,
    seed: int = 0,
) -> None:
    """Checks that an estimator keeps what ``fsb.types.Estimator`` promises.

    By default for units with values in {-1, 1} and a loss with products of units. The losses of
    ``surrogate`` must be [B], and the value and the gradient finite, shaped like the params and the
    same with and without ``jit``. An unbiased estimator must have the mean that
    ``fsb.exact_gradient`` computes or, where a site cannot be enumerated, that of ``reinforce``.

    Args:
      estimator: the estimator.
      dist, params: the distribution of the units and its parameters, [B, D...].
      loss: in place of that: a loss for ``value_and_grad`` with these params.
      unbiased: whether the mean must be the exact gradient.
      draws: number of estimates averaged.
      seed: of the draws.

    Raises:
      FsbError: in one line, what is wrong.

    >>> import fsb, fsb.testing
    >>> fsb.testing.check_estimator(fsb.rloo(2))
    >>> fsb.testing.check_estimator(fsb.st())
    Traceback (most recent call last):
    fsb.errors.FsbError: check_estimator: the gradient is biased: ...
    """
    where = "check_estimator"
    if not isinstance(estimator, Estimator):
        raise FsbError(f"{where}: pass an estimator, such as fsb.st(), not {estimator!r}")
    if params is None:
        params = jnp.array([[0.4, -0.8, 1.2], [-0.3, 0.1, 0.9]])
    loss = loss or functools.partial(_products, dist)
    key = jax.random.key(seed)
    control, state = init(estimator, loss, params, key)
    compute = stateful_value_and_grad(estimator, loss)
    out = compute(params, control, state, key)
    for leaf, like in zip(*map(jax.tree.leaves, (out.params, params)), strict=True):
        if leaf.shape != like.shape or not bool(jnp.isfinite(leaf).all()):
            raise FsbError(f"{where}: the gradient must be finite and of the shape {like.shape}")
    again = jax.jit(compute)(params, control, state, key)
    for one, other in zip(*map(jax.tree.leaves, (out, again)), strict=True):
        if not np.allclose(one, other, rtol=1e-3, atol=1e-4):
            raise FsbError(f"{where}: under jax.jit the result differs; is something not pure?")
    if str(jax.tree.structure(out.state)) != str(jax.tree.structure(state)):
        raise FsbError(f"{where}: the next state must have the structure of the state")
    if unbiased:
        _unbiased(where, estimator, loss, params, key, draws, (control, state))


def _products(dist: Any, eta: Array, sample: Any) -> Array:
    z = sample("z", dist, eta)
    return (jnp.sin(z) + z * jnp.roll(z, 1, -1)).reshape(len(z), -1).sum(-1)


def _unbiased(where, estimator, loss, params, key, draws, fitted):
    found = sample_gradients(estimator, loss, params, key, draws, fitted=fitted)
    try:
        expected = exact_gradient(loss, params)
        reference = jax.tree.map(lambda x: x[None], expected)
    except FsbError:
        reference = sample_gradients(reinforce(), loss, params, jax.random.fold_in(key, 1), draws)
    for mine, true in zip(*map(jax.tree.leaves, (found, reference)), strict=True):
        mine, true = (np.asarray(x, np.float64) for x in (mine, true))
        error = np.sqrt(mine.var(0) / len(mine) + true.var(0) / len(true)) + 1e-4
        off = np.abs(mine.mean(0) - true.mean(0)) / error
        if not (off < SIGMAS).all():
            worst = np.unravel_index(np.argmax(off), off.shape)
            raise FsbError(
                f"{where}: the gradient is biased: {mine.mean(0)[worst]:.5g} over {draws} draws, "
                f"not {true.mean(0)[worst]:.5g} ({error[worst]:.1g} of error); "
                "if it is meant to be, give unbiased=False"
            )
