"""Local estimators for multi-sample objectives."""

from __future__ import annotations

import jax

from fsb.errors import FsbError
from fsb.estimators.vimco import negative_bound
from fsb.types import Aux, Estimator


def multi_sample(estimator: Estimator, samples: int = 20) -> Estimator:
    r"""A local estimator of the log of a mean of importance weights over independent runs.

    For a loss -log w and m independent runs by the estimator's rule, the losses are

    .. math:: -\log \tfrac1m \sum_{i=1}^{m} e^{-f(z_i)},

    so the cotangents of run i are weighted by w_i / sum_j w_j. The bias is that of the estimator on
    this objective (none for ``pathwise``). Costs m evaluations of the loss in parallel, all
    differentiated. Requires a local estimator: the others estimate the gradient of each run's
    expected loss, which does not give the gradient of the bound.

    Several layers: as for the estimator. It also applies to conditional models, where w = p(y | z).

    Source: Gu et al. 2016 (MuProp), arXiv:1511.05176, section 5.1; Raiko et al. 2015 (Techniques
    for Learning Binary Stochastic Feedforward Neural Networks), arXiv:1406.2989; the bound: Burda,
    Grosse & Salakhutdinov 2016 (IWAE), arXiv:1509.00519.

    Args:
      estimator: a local estimator, such as ``st``.
      samples: m >= 1.

    Raises:
      FsbError: if the estimator is not local, or ``samples`` is less than 1.

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
