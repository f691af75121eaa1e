"""ARMS for multi-sample bounds: coupled draws take the place of each run in turn."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli
from fsb.errors import FsbError
from fsb.estimators._attach import attach_all, branch, one_run, several_runs
from fsb.estimators.arms import companions, of_coupled
from fsb.estimators.vimco import negative_bound
from fsb.runtime.random import split
from fsb.sites import ancestral, serve_all, serve_no_scan
from fsb.types import Aux, Estimator


def iw_arms(samples: int = 5) -> Estimator:
    r"""Local ARMS: the gradient of a multi-sample bound by coupled draws in the place of each run.

    For a loss -log w, such as ``fsb.objectives.sampled_elbo``, the value is minus the bound L of n
    independent runs z_1 ... z_n, per example. Beside them n draws b_1 ... b_n are coupled as in
    ``arms``. Each of them takes the place of each run,

    .. math:: L_{ki} = \log \tfrac1n \Big(w(b_i) + \sum_{j \ne k} w(z_j)\Big), \qquad
        \bar\eta = -\frac{1}{n - 1} \sum_{k,i} (L_{ki} - \bar L_k) (b_i - p)
        \, \frac{p (1 - p)}{p - P_{11}},

    with :math:`\bar L_k` the mean over i: ARMS for the loss of run k, given the others. To this
    comes the ordinary derivative of -L with respect to what the weights depend on directly.
    Unbiased for the gradient of E[-L], which with ``sampled_elbo`` is the importance-weighted bound
    of IWAE.

    All runs share the coupled draws, which costs variance: in the tests it is more than that of
    ``iw_disarm``, at as many evaluations, and less than that of ``vimco``, with half as many.

    One layer: a loss with one site, outside of scans; ``iw_disarm`` serves several. Costs 2n
    evaluations of the loss side by side, n of them differentiated. Examples must be independent (no
    BatchNorm). Supports Bernoulli sites.

    Source: Dimitriev & Zhou 2021 (ARMS: Antithetic-REINFORCE-Multi-Sample Gradient for Binary
    Variables), arXiv:2105.14141, its version for the multi-sample bound. Their code has 1/n of the
    estimate.

    Args:
      samples: n >= 2.

    Raises:
      FsbError: if ``samples`` is less than 2, or the loss has several sites or a scan.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 4.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> coupled, pairs = (
    ...     fsb.sample_gradients(estimator, loss, jnp.zeros((1, 1)), jax.random.key(0), 4000)
    ...     for estimator in (fsb.iw_arms(4), fsb.iw_disarm(4))
    ... )
    >>> bool(abs(coupled.mean() - pairs.mean()) < 0.1 * pairs.mean())
    True
    """
    if samples < 2:
        raise FsbError(f"iw_arms: samples={samples}: it must be at least 2")

    def init(key, sites):
        serve_all("iw_arms", sites, Bernoulli)
        serve_no_scan("iw_arms", sites, "iw_disarm(n)")
        if len(sites) != 1:
            names = ", ".join(repr(site.name) for site in sites)
            raise FsbError(
                f"iw_arms: the loss samples {len(sites)} sites ({names}): it serves one; "
                "iw_disarm(n) serves several"
            )
        return (), ()

    def surrogate(run, control, state, key):
        key, own_key = split(key, 2)
        losses, _ = several_runs("iw_arms", run, key, samples)
        first, (site,) = one_run("iw_arms", run, own_key, shared=True)
        others = companions(site, own_key, samples)
        at = lambda z: branch(run, (site,), 0, None, z, ancestral(own_key))
        coupled = jnp.concatenate([first[None], jax.vmap(at)(others)])

        def in_place_of(k):
            return jax.vmap(lambda own: negative_bound(losses.at[k].set(own)))(coupled)

        bounds = jax.vmap(in_place_of)(jnp.arange(samples)).sum(0)
        estimate = of_coupled(site, bounds, jnp.concatenate([site.z[None], others]))
        bound = negative_bound(losses)
        return attach_all(bound, (site,), [estimate]), Aux(0.0, state, {})

    return Estimator(init, surrogate)
