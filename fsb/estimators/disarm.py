"""Antithetic estimators for Boolean units: ARM and DisARM."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli
from fsb.estimators._attach import layerwise, weigh
from fsb.estimators.local import mean_slope
from fsb.sites import Site, site_key
from fsb.types import Array, Estimator


def arm() -> Estimator:
    r"""ARM: a pair of antithetic draws from one uniform number per unit.

    With u ~ U(0, 1), z = [u < p] and its antithesis z' = [1 - u < p], both in the unit's encoding,

    .. math:: \bar\eta = (f(z') - f(z)) \, (u - \tfrac12).

    Unbiased. Kept as a baseline: ``disarm`` is its mean given (z, z'), with the same evaluations
    and never a larger variance.

    Several layers: at each, the antithesis is taken given the layers above, and what is below is
    redrawn with the noise of the run. 1 + L evaluations of the loss, one of them differentiated.
    Examples must be independent (no BatchNorm).

    Source: Yin & Zhou 2019 (ARM: Augment-REINFORCE-Merge), eq. 6.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> draws = fsb.sample_gradients(fsb.arm(), loss, jnp.zeros((1, 1)), jax.random.key(0), 10_000)
    >>> bool(abs(draws.mean() - 0.25) < 0.01)
    True
    """

    def weight(u, z, other, eta, dist):
        return jnp.where(mean_slope(eta, dist) > 0, u - 0.5, 0)  # a certain unit has no gradient

    return antithetic("arm", weight)


def disarm() -> Estimator:
    r"""DisARM, also known as U2G: the antithetic pair without the uniform number's own noise.

    With (z, z') as in ``arm``, s = +1 where z is high and -1 where it is low,

    .. math:: \bar\eta = \tfrac12 (f(z) - f(z')) \, s \, [z \ne z'] \, \sigma(|\eta|).

    Unbiased; the mean of ARM given (z, z').

    Several layers: as ``arm``. 1 + L evaluations of the loss, one of them differentiated.
    Examples must be independent (no BatchNorm).

    Source: Dong, Mnih & Tucker 2020 (DisARM), eq. 6; Yin et al. 2020 (U2G).

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 4.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> fsb.value_and_grad(fsb.disarm(), loss)(jnp.zeros((1, 1)), jax.random.key(0))[1].item()
    1.0
    """

    return antithetic("disarm", disarm_weight)


def disarm_weight(u: Array, z: Array, other: Array, eta: Array, dist: Bernoulli) -> Array:
    """-s [z != z'] sigmoid(|eta|) / 2: the mean of u - 1/2 given the pair."""
    sign = 2 * dist.decode(z) - 1
    return -0.5 * sign * (z != other) * jax.nn.sigmoid(jnp.abs(eta))


def antithetic(name: str, weight: Callable[..., Array]) -> Estimator:
    """eta_bar = (f(z') - f(z)) weight(u, z, z', eta, dist), layer by layer."""

    def estimate(site, change, key):
        u, other = antithesis(site, key)
        return weigh(change(other), weight(u, site.z, other, site.eta, site.dist))

    return layerwise(name, estimate, Bernoulli)


def antithesis(site: Site, key: Array) -> tuple[Array, Array]:
    """The noise u that drew a site of ``ancestral(key)``, and the value that 1 - u draws.

    Mirrored on the grid of the noise, so that 1 - u lies in [0, 1) as well: a unit with p = 1 is
    high whatever was drawn.
    """
    # The barrier keeps the compiler from drawing u anew for each of its many uses.
    u = jax.lax.optimization_barrier(site.dist.noise(site_key(key, site.name), site.eta))
    return u, site.dist.from_noise(1 - jnp.finfo(u.dtype).eps - u, site.eta)
