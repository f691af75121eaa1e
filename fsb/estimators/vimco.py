"""VIMCO: the score-function estimator for multi-sample bounds."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from fsb.errors import FsbError
from fsb.estimators._attach import attach_scores, mean_of_others, several_runs
from fsb.types import Array, Aux, Estimator


def vimco(samples: int = 5) -> Estimator:
    r"""VIMCO: the gradient of the log of a mean of importance weights over independent runs.

    For a loss -log w, such as ``fsb.objectives.sampled_elbo``, and n independent runs, the value is
    minus the bound L, per example, and the estimate at the sites of run i is

    .. math:: L = \log \tfrac1n \sum_{j} w_j, \qquad
        \bar\eta_i = -(L - L_{-i}) \frac{\partial \log p(z_i)}{\partial \eta_i}, \qquad
        L_{-i} = \log \tfrac1n \Big(\sum_{j \ne i} w_j
            + \exp \tfrac{1}{n-1} \sum_{j \ne i} \log w_j\Big),

    plus the ordinary derivative of -L with respect to what the weights depend on directly. Unbiased
    for the gradient of E[-L], which with ``sampled_elbo`` is the importance-weighted bound of IWAE.
    Supports every distribution. Costs n evaluations of the loss in parallel, all differentiated.

    Several layers: each run samples all of them, and its signal applies to each. Examples must be
    independent (no BatchNorm).

    Source: Mnih & Rezende 2016 (Variational Inference for Monte Carlo Objectives),
    arXiv:1602.06725, eqs. 4, 7, 9.

    Args:
      samples: n >= 2.

    Raises:
      FsbError: if ``samples`` is less than 2.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 1000 + sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> draws = fsb.sample_gradients(fsb.vimco(2), loss, jnp.zeros((1, 1)), jax.random.key(0), 9999)
    >>> ends = jnp.array([0, -jnp.log((1 + jnp.exp(-1)) / 2), 1])  # -L - 1000 of 0, 1, 2 ones
    >>> bool(abs(draws.mean() - 0.25 * (ends[2] - ends[0])) < 0.01)
    True
    """
    if samples < 2:
        raise FsbError(f"vimco: samples={samples}: it must be at least 2")

    def surrogate(run, control, state, key):
        losses, sites = several_runs("vimco", run, key, samples)
        every = [signals(losses)] * len(sites)
        attached = jax.vmap(attach_scores)(jnp.zeros_like(losses), sites, every)
        return negative_bound(losses) + attached.sum(0), Aux(0.0, state, {})

    return Estimator(lambda key, sites: ((), ()), surrogate)


def negative_bound(losses: Array) -> Array:
    """-log mean exp(-losses) over the runs: [n, B] -> [B]."""
    return math.log(len(losses)) - jax.nn.logsumexp(-losses, 0)


def signals(losses: Array) -> Array:
    """The negative bound minus that with this run's log weight set to the mean of the others."""
    own = jnp.eye(len(losses), dtype=bool)[:, :, None]
    without = jnp.where(own, mean_of_others(losses)[:, None], losses[None])  # [left out, n, B]
    return negative_bound(losses)[None] - jax.vmap(negative_bound)(without)
