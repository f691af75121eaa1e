"""Bitflip-1 and UGC: the exact difference for one random Boolean unit."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli
from fsb.distributions.bernoulli import bit_variance
from fsb.estimators._attach import layerwise, weigh
from fsb.estimators.disarm import antithesis, disarm_weight
from fsb.runtime.random import fold_in, uniform
from fsb.sites import Site, site_key
from fsb.types import Array, Estimator


def bitflip() -> Estimator:
    r"""Bitflip-1: evaluates both values of one unit, chosen uniformly per example and layer.

    With J uniform over the d units of a layer and v = p (1 - p),

    .. math:: \bar\eta_i = d \, [i = J] \, v_i \, (f(z_{-i}, high) - f(z_{-i}, low)).

    Unbiased. Its second moment, :math:`d \, v_i^2 \, \mathbb E[(f(z_{-i}, high) - f(z_{-i},
    low))^2]`, vanishes like min(p, 1 - p) squared, that of ``disarm`` only like min(p, 1 - p); but
    it grows with the number of units.

    Several layers: the unit is flipped given the layers above, and the layers below are resampled
    with the noise of the run. Costs 1 + L evaluations of the loss, one of them differentiated.
    Examples must be independent (no BatchNorm). Supports Bernoulli sites.

    Source: Kunes et al. 2023 (Gradient Estimation for Binary Latent Variables via Gradient
    Variance Clipping), arXiv:2208.06124, bitflip-1.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 3.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> fsb.value_and_grad(fsb.bitflip(), loss)(jnp.zeros((1, 1)), jax.random.key(0))[1].item()
    0.75
    """

    def estimate(site, change, key):
        chosen, other = flip(site, key)
        return weigh(change(other), bitflip_weight(site, chosen))

    return layerwise("bitflip", estimate, Bernoulli)


def ugc() -> Estimator:
    r"""Unbiased gradient variance clipping: bitflip-1 for nearly deterministic units, else DisARM.

    .. math:: \bar\eta_i = \bar\eta_i^{bitflip} \text{ if } \min(p_i, 1 - p_i) < \frac{1}{2 d},
        \text{ else } \bar\eta_i^{DisARM},

    with d the number of units of the layer. At the threshold the two have the same variance if the
    antithetic pair differs in f as much as the flipped pair. Unbiased.

    Several layers: as for both of them, which share the samples of the run. Costs 1 + 2 L
    evaluations of the loss, one of them differentiated. Examples must be independent (no
    BatchNorm). Supports Bernoulli sites.

    Source: Kunes et al. 2023 (Gradient Estimation for Binary Latent Variables via Gradient
    Variance Clipping), arXiv:2208.06124, UGC.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> eta, key = jnp.full((64, 2), -4.0), jax.random.key(0)
    >>> grads = [fsb.value_and_grad(e, loss)(eta, key)[1] for e in (fsb.ugc(), fsb.bitflip())]
    >>> bool((grads[0] == grads[1]).all())  # p = 0.018 is below 1 / (2 * 2)
    True
    """

    def estimate(site, change, key):
        chosen, other = flip(site, key)
        flipped = weigh(change(other), bitflip_weight(site, chosen))
        u, other = antithesis(site)
        pair = weigh(change(other), disarm_weight(u, site.z, other, site.eta, site.dist))
        nearly_certain = jax.nn.sigmoid(-jnp.abs(site.eta)) < 1 / (2 * units(site))
        return jnp.where(nearly_certain, flipped, pair)

    return layerwise("ugc", estimate, Bernoulli)


def units(site: Site) -> int:
    """d, the number of units of a layer."""
    return math.prod(site.z.shape[1:])


def flip(site: Site, key: Array) -> tuple[Array, Array]:
    """Chooses one unit per example: its one-hot mask [B, D...], and z with that unit flipped.

    Deterministic units are not flipped, as the loss may not be defined at their other value.
    """
    d = units(site)
    u = uniform(fold_in(site_key(key, site.name), 1), site.z.shape[:1])
    index = jnp.minimum((u * d).astype(jnp.int32), d - 1)
    chosen = jax.nn.one_hot(index, d, dtype=bool).reshape(site.z.shape)
    flippable = chosen & (bit_variance(site.eta) > 0)
    dist: Any = site.dist  # a Bernoulli
    return chosen, jnp.where(flippable, dist.other(site.z), site.z)


def bitflip_weight(site: Site, chosen: Array) -> Array:
    """-s d [chosen] p (1 - p), the weight of f(flipped) - f(z)."""
    weight = units(site) * (1 - 2 * site.dist.decode(site.z)) * bit_variance(site.eta)
    return jnp.where(chosen, weight, 0)
