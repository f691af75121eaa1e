"""Estimators of multi-sample objectives, from those of single-sample ones."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp

from fsb.errors import FsbError
from fsb.estimators.vimco import negative_bound
from fsb.runtime.random import split
from fsb.sites import Block, Site, serve_no_scan
from fsb.types import Aux, Estimator, Run


def multi_sample(estimator: Estimator, samples: int = 20) -> Estimator:
    r"""An estimator of the log of a mean of importance weights over independent runs.

    For a loss -log w and m independent runs, the losses are

    .. math:: -\log \tfrac1m \sum_{i=1}^{m} e^{-f(z_i)}.

    A local estimator acts in each run, whose cotangents are weighted by w_i / sum_j w_j. For any
    other the m runs are one model, each of whose sites holds its draws in all runs, [B, m, D...]:
    the signal of ``nvil`` is then the bound, and ``muprop`` expands it about the mean-field pass.
    The bias is that of the estimator on this objective (none for ``pathwise`` and the unbiased
    ones). Costs m evaluations for each one of the estimator, in parallel.

    Several layers: as for the estimator. It also applies to conditional models, where w = p(y | z).

    Source: Gu et al. 2016 (MuProp), arXiv:1511.05176, section 5.1; Raiko et al. 2015 (Techniques
    for Learning Binary Stochastic Feedforward Neural Networks), arXiv:1406.2989; the bound: Burda,
    Grosse & Salakhutdinov 2016 (IWAE), arXiv:1509.00519.

    Args:
      estimator: such as ``st``, ``nvil`` or ``muprop``; see also ``vimco``, which has less variance
        than ``nvil`` here, and ``iw_disarm``, which has less than ``disarm``: they know how the
        runs are combined.
      samples: m >= 1.

    Raises:
      FsbError: if ``samples`` is less than 1; for an estimator that is not local, if a site is in a
        scan.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 2.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> estimate = fsb.value_and_grad(fsb.multi_sample(fsb.st(), 8), loss)
    >>> estimate(jnp.zeros((1, 1)), jax.random.key(0))[1].item()  # the weights add up to 1
    0.5
    """
    if samples < 1:
        raise FsbError(f"multi_sample: samples={samples}: it must be at least 1")
    if estimator.rule is None:
        return _of_one_model(estimator, samples)

    def surrogate(run, control, state, key):
        keys = split(key, samples)
        losses = jax.vmap(lambda k: estimator.surrogate(run, control, state, k)[0])(keys)
        return negative_bound(losses), Aux(0.0, state, {})

    return Estimator(estimator.init, surrogate)


def _of_one_model(estimator: Estimator, samples: int) -> Estimator:
    block = Block("runs", samples, axis=1, scan=False)

    def together(run: Run) -> Run:
        """The run of all samples: losses [B], and every site with its draws along axis 1."""

        def all_runs(sampler):
            losses, sites = jax.vmap(run, axis_size=samples)(sampler.block(block))
            return negative_bound(losses), tuple(map(outside, sites))

        return all_runs

    def outside(site: Site) -> Site:
        """Its costs downstream are no part of a bound, and its context is that of every run."""
        context = None if site.context is None else site.context[0]
        return replace(block.outside(replace(site, downstream=None, context=None)), context=context)

    def init(key, sites):
        serve_no_scan("multi_sample of an estimator that is not local", sites, "vimco")
        several = lambda x: jnp.broadcast_to(x[None], (samples, *x.shape))
        stack = lambda sites: [outside(site) for site in jax.tree.map(several, sites)]
        return estimator.init(key, tuple(jax.eval_shape(stack, sites)))

    def surrogate(run, control, state, key):
        return estimator.surrogate(together(run), control, state, key)

    return Estimator(init, surrogate)
