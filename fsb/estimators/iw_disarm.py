"""DisARM for multi-sample bounds, with a signal of its own for every run."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli
from fsb.errors import FsbError
from fsb.estimators._attach import attach_all, estimates_of_layers, several_runs
from fsb.estimators.disarm import disarm_weight, of_pair
from fsb.estimators.vimco import negative_bound
from fsb.runtime.random import split
from fsb.sites import serve_all
from fsb.types import Aux, Estimator


def iw_disarm(samples: int = 5) -> Estimator:
    r"""Local DisARM: the gradient of a multi-sample bound by an antithetic partner of each run.

    For a loss -log w, such as ``fsb.objectives.sampled_elbo``, n independent runs z_1 ... z_n and
    an antithetic partner z'_i of each, as in ``disarm``, the value is minus the bound L, per
    example, and the estimate at the sites of run i, with s = +1 where z_i is high and -1 where it
    is low, is

    .. math:: L = \log \tfrac1n \sum_{j} w(z_j), \qquad
        L_i' = \log \tfrac1n \Big(w(z_i') + \sum_{j \ne i} w(z_j)\Big), \qquad
        \bar\eta_i = -\tfrac12 (L - L_i') \, s \, [z_i \ne z_i'] \, \sigma(|\eta|),

    plus the ordinary derivative of -L with respect to what the weights depend on directly. Unbiased
    for the gradient of E[-L], which with ``sampled_elbo`` is the importance-weighted bound of IWAE;
    with n = 1 it is ``disarm``. Supports Bernoulli sites.

    ``multi_sample(disarm(), n)`` has the same mean and the same evaluations, but one signal for all
    runs: the change of the bound when every run turns into its partner. Here the other runs stay,
    so that their noise is no part of the signal.

    Several layers: as ``disarm``, in each run; the paper has one layer. Costs n (1 + L) evaluations
    of the loss, n of them differentiated: for one layer, 2n, side by side. Examples must be
    independent (no BatchNorm).

    Source: Dong, Mnih & Tucker 2020 (DisARM), arXiv:2006.10680, the local version for the
    multi-sample bound.

    Args:
      samples: n >= 1.

    Raises:
      FsbError: if ``samples`` is less than 1.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 4.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> local, joint = (
    ...     fsb.sample_gradients(estimator, loss, jnp.zeros((1, 1)), jax.random.key(0), 2000)
    ...     for estimator in (fsb.iw_disarm(4), fsb.multi_sample(fsb.disarm(), 4))
    ... )
    >>> bool(abs(local.mean() - joint.mean()) < 0.1 * joint.mean()), bool(local.var() < joint.var())
    (True, True)
    """
    if samples < 1:
        raise FsbError(f"iw_disarm: samples={samples}: it must be at least 1")
    of_bound = partial(of_pair, disarm_weight)

    def init(key, sites):
        serve_all("iw_disarm", sites, Bernoulli)
        return (), ()

    def surrogate(run, control, state, key):
        losses, sites = several_runs("iw_disarm", run, key, samples)
        bound = negative_bound(losses)

        def in_run(i, sites, key):
            def estimate(site, change, key):
                """With the change of the bound for that of the run's loss."""
                swapped = lambda z: negative_bound(losses.at[i].add(change(z)))
                return of_bound(site, lambda z: swapped(z) - bound, key)

            return estimates_of_layers(run, losses[i], sites, key, estimate)

        keys = split(key, samples)
        estimates = jax.vmap(in_run)(jnp.arange(samples), sites, keys)
        attached = jax.vmap(attach_all)(jnp.zeros_like(losses), sites, estimates)
        return bound + attached.sum(0), Aux(0.0, state, {})

    return Estimator(init, surrogate)
