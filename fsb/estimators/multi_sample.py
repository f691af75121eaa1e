"""Local estimators on a multi-sample objective."""

from __future__ import annotations

import jax

from fsb.errors import FsbError
from fsb.estimators.vimco import negative_bound
from fsb.types import Aux, Estimator


def multi_sample(estimator: Estimator, samples: int = 20) -> Estimator:
    r"""A local estimator on the log of a mean of weights, each of a run of its own.

    For a loss that is -log w, and m independent runs by the estimator's rule, the losses are

    .. math:: -\log \tfrac1m \sum_{i=1}^{m} e^{-f(z_i)},

    so that the cotangents of run i come weighed by w_i / sum_j w_j. The bias is that of the
    estimator on this objective (none for ``pathwise``). m evaluations of the loss, side by side,
    all differentiated. It needs a local estimator: an estimate of each run's expected loss, as all
    others attach, is none of the bound's gradient.

    Several layers: as the estimator. The objective of conditional models too, where w = p(y | z).

    Source: Gu et al. 2016 (MuProp), section 5.1; Raiko et al. 2015; the bound: Burda et al. 2016.

    Args:
      estimator: a local one, such as ``st``.
      samples: m >= 1.

    Raises:
      FsbError: if the estimator is not a local one.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 2.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> estimate = fsb.value_and_grad(fsb.multi_sample(fsb.st(), 8), loss)
    >>> estimate(jnp.zeros((1, 1)), jax.random.key(0))[1].item()  # the weights add up to 1
    0.5
    """
    if samples < 1:
        raise FsbError(f"multi_sample: samples={samples}: it must be at least 1")
    if estimator.rule is None:
        raise FsbError("multi_sample: needs a local estimator, such as st or darn; or use vimco")

    def surrogate(run, control, state, key):
        keys = jax.random.split(key, samples)
        losses = jax.vmap(lambda k: estimator.surrogate(run, control, state, k)[0])(keys)
        return negative_bound(losses), Aux(0.0, state, {})

    return Estimator(estimator.init, surrogate)
