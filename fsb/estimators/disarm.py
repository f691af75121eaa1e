"""Antithetic estimators for Boolean units: ARM and DisARM."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli
from fsb.estimators._attach import LayerEstimate, layerwise, weigh
from fsb.estimators.local import mean_slope
from fsb.sites import Site
from fsb.types import Array, Estimator


def arm() -> Estimator:
    r"""ARM: a pair of antithetic samples from one uniform number per unit.

    With u ~ U(0, 1), z = [u < p] and its antithetic z' = [1 - u < p], both in the unit's encoding,

    .. math:: \bar\eta = (f(z') - f(z)) \, (u - \tfrac12).

    Unbiased. Provided as a baseline: ``disarm`` is its expectation given (z, z'), with the same
    evaluations and never more variance.

    Several layers: the antithetic value is taken given the layers above, and the layers below are
    resampled with the noise of the run. Costs 1 + L evaluations of the loss, one of them
    differentiated. Examples must be independent (no BatchNorm). Supports Bernoulli sites.

    Source: Yin & Zhou 2019 (ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary Networks),
    arXiv:1807.11143, eq. 6.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> draws = fsb.sample_gradients(fsb.arm(), loss, jnp.zeros((1, 1)), jax.random.key(0), 10_000)
    >>> bool(abs(draws.mean() - 0.25) < 0.01)
    True
    """

    def weight(u, z, other, eta, dist):
        return jnp.where(mean_slope(eta, dist) > 0, u - 0.5, 0)  # 0 if deterministic

    return antithetic("arm", weight)


def disarm() -> Estimator:
    r"""DisARM, also known as U2G: ARM with the noise of the uniform number integrated out.

    With (z, z') as in ``arm``, s = +1 where z is high and -1 where it is low,

    .. math:: \bar\eta = \tfrac12 (f(z) - f(z')) \, s \, [z \ne z'] \, \sigma(|\eta|).

    Unbiased; the expectation of ARM given (z, z').

    Several layers: as ``arm``. Costs 1 + L evaluations of the loss, one of them differentiated.
    Examples must be independent (no BatchNorm). Supports Bernoulli sites.

    Source: Dong, Mnih & Tucker 2020 (DisARM), arXiv:2006.10680, eq. 6; Yin et al. 2020 (U2G, in
    Probabilistic Best Subset Selection via Gradient-Based Optimization), arXiv:2006.06448.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 4.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> fsb.value_and_grad(fsb.disarm(), loss)(jnp.zeros((1, 1)), jax.random.key(0))[1].item()
    1.0
    """

    return antithetic("disarm", disarm_weight)


def disarm_weight(u: Array, z: Array, other: Array, eta: Array, dist: Bernoulli) -> Array:
    """-s [z != z'] sigmoid(|eta|) / 2: the expectation of u - 1/2 given the pair."""
    sign = 2 * dist.decode(z) - 1
    return -0.5 * sign * (z != other) * jax.nn.sigmoid(jnp.abs(eta))


def antithetic(name: str, weight: Callable[..., Array]) -> Estimator:
    """The estimator g = (f(z') - f(z)) weight(u, z, z', eta, dist), layer by layer."""
    return layerwise(name, of_pair(weight), Bernoulli)


def of_pair(weight: Callable[..., Array]) -> LayerEstimate:
    """The estimate of ``antithetic`` at one layer."""

    def estimate(site, change, key):
        u, other = antithesis(site)
        return weigh(change(other), weight(u, site.z, other, site.eta, site.dist))

    return estimate


def antithesis(site: Site) -> tuple[Array, Array]:
    """The noise u of a sampled site, and the value sampled from 1 - u.

    u is mirrored on the grid of the noise, so 1 - u also lies in [0, 1) and a unit with p = 1 is
    always high.
    """
    # The barrier keeps the compiler from recomputing u for each use.
    u = jax.lax.optimization_barrier(site.noise)
    return u, site.dist.from_noise(1 - jnp.finfo(u.dtype).eps - u, site.eta)
