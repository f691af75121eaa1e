"""Averages over independent estimates."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fsb.errors import FsbError
from fsb.runtime.random import split
from fsb.types import Estimator


def average(estimator: Estimator, samples: int) -> Estimator:
    r"""The mean of several independent estimates.

    .. math:: \bar\eta = \tfrac1n \sum_{i=1}^{n} \bar\eta_i

    Has the mean of the estimator and 1/n of its variance, at n times its cost. The runs are
    evaluated in parallel; the new state is the mean of theirs.

    Source: standard; "ARM-10" of Shekhovtsov 2021, arXiv:2110.03549, figure 3, is
    ``average(arm(), 10)``.

    Args:
      estimator: any estimator.
      samples: n >= 1.

    Raises:
      FsbError: if ``samples`` is less than 1.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> eta, key = jnp.zeros((1, 1)), jax.random.key(0)
    >>> draws = lambda e: fsb.sample_gradients(e, loss, eta, key, 4000).var().item()
    >>> 9 < draws(fsb.arm()) / draws(fsb.average(fsb.arm(), 10)) < 11
    True
    """
    if samples < 1:
        raise FsbError(f"average: samples={samples}: it must be at least 1")

    def surrogate(run, control, state, key):
        keys = split(key, samples)
        one = lambda key: estimator.surrogate(run, control, state, key)
        losses, aux = jax.vmap(one)(keys)
        return losses.mean(0), jax.tree.map(_mean, aux)

    return Estimator(estimator.init, surrogate)


def _mean(x):
    """The mean over the first axis; integer counters are the same in all runs."""
    return x.mean(0) if jnp.issubdtype(x.dtype, jnp.inexact) else x[0]
