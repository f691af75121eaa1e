"""RLOO: the score-function estimator with a leave-one-out baseline."""

from __future__ import annotations

import jax

from fsb.errors import FsbError
from fsb.estimators._attach import attach_scores, mean_of_others, several_runs
from fsb.estimators._turns import signal_of
from fsb.types import Aux, Estimator


def rloo(samples: int = 2) -> Estimator:
    r"""RLOO (REINFORCE leave-one-out), also known as LOORF and VarGrad.

    With n independent runs of losses f_i, and f-bar their mean,

    .. math:: \bar\eta = \frac{1}{n - 1} \sum_{i=1}^{n} (f_i - \bar f) \,
        \frac{\partial \log p(z_i)}{\partial \eta}.

    Unbiased: each run's baseline is the mean of the others. Supports every distribution. Costs n
    evaluations of the loss in parallel, all differentiated; the value is the mean over the runs.

    Several layers: each run samples all of them, and its signal applies to each. Examples must be
    independent (no BatchNorm).

    Source: Kool, van Hoof & Welling 2019 (Buy 4 REINFORCE Samples, Get a Baseline for Free!),
    https://openreview.net/forum?id=r1lgTGL5DE, eq. 8; Richter et al. 2020 (VarGrad),
    arXiv:2010.10436.

    Args:
      samples: n >= 2.

    Raises:
      FsbError: if ``samples`` is less than 2.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 1000 + sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> _, grad = fsb.value_and_grad(fsb.rloo(), loss)(jnp.zeros((1, 1)), jax.random.key(0))
    >>> grad.item() in (0.0, 0.5)  # whatever the constant
    True
    """
    if samples < 2:
        raise FsbError(f"rloo: samples={samples}: it must be at least 2")

    def surrogate(run, control, state, key):
        losses, sites = several_runs("rloo", run, key, samples)
        each = lambda losses, sites: [signal_of(losses, site) for site in sites]
        signals = [x - mean_of_others(x) for x in jax.vmap(each)(losses, sites)]
        return jax.vmap(attach_scores)(losses, sites, signals).mean(0), Aux(0.0, state, {})

    return Estimator(lambda key, sites: ((), ()), surrogate)
