"""One unit of a run changed: which one, to what, and what the change says about a rule."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli, Categorical
from fsb.distributions.bernoulli import bit_variance
from fsb.estimators.zgr import zgr
from fsb.runtime.random import fold_in, uniform
from fsb.sites import Sampler, Site, per_example, sampler, site_key
from fsb.types import Array

PLAIN = 0.1  # the part of the probabilities that is not learned
ZGR: Any = zgr().rule.pull  # type: ignore[union-attr]
TINY = 1e-24  # below all sums of weights; keeps 0 / 0 at 0


class Point(NamedTuple):
    """A site of a run, the estimate of the rule in its eta, and the slope in its value."""

    site: Site
    estimate: Array
    slope: Array


@sampler
class followed:
    """Draws whose derivative is that of a rule, where one differentiates in ``shifts``.

    Differentiated in anything else, such as the params, they are constant.

    shifts: by the name of the site, zeros that are added to its eta and to its value.
    places: by the name of the site, where it is not drawn but given, and its value there.
    """

    sampler: Sampler
    pull: Callable = field(metadata={"static": True})
    shifts: Mapping[str, tuple[Array, Array]]
    places: Mapping[str, tuple[Array, Array]]

    def __call__(self, name, dist, eta):
        site = self.sampler(name, dist, eta)
        if name not in self.shifts:
            return site
        z = site.z
        if name in self.places:
            where, value = self.places[name]
            z = jnp.where(where, value, z)
        nudge, shift = self.shifts[name]
        pull = lambda g, z, eta: self.pull(g, z, eta, dist)
        return replace(site, z=follow(pull, eta + nudge, z + shift))

    def block(self, block):
        values = block.values(self.shifts), block.values(self.places)
        return followed(self.sampler.block(block), self.pull, *values)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def follow(pull, eta, z):
    """z, with the derivative of a rule in eta."""
    return z


follow.defvjp(
    lambda pull, eta, z: (z, (z, eta)),
    lambda pull, drawn, g: (pull(g, *drawn), g),
)


def over_event(per_unit: Array, site: Site) -> Array:
    """One number per unit, in the shape of values and parameters."""
    return per_unit[..., None] if isinstance(site.dist, Categorical) else per_unit


def over_units(x: Array, site: Site) -> Array:
    """Summed over the values of a unit: one number per unit."""
    return x.sum(-1) if isinstance(site.dist, Categorical) else x


def spread(site: Site) -> Array:
    """v = p (1 - p), or the sum of it over the values; 0 for a deterministic unit."""
    if isinstance(site.dist, Bernoulli):
        return bit_variance(site.eta)
    p = jax.nn.softmax(site.eta)
    return (p * (1 - p)).sum(-1)


def chance(site: Site, z: Array) -> tuple[Array, Array]:
    """The probabilities of a value and of all others, accurate however small."""
    if isinstance(site.dist, Bernoulli):
        log_odds = (2 * site.dist.decode(z) - 1) * site.eta
        return jax.nn.sigmoid(log_odds), jax.nn.sigmoid(-log_odds)
    p = jax.nn.softmax(site.eta)
    return (p * z).sum(-1), (p * (1 - z)).sum(-1)


def other_value(site: Site, key: Array) -> Array:
    """For every unit another value, drawn from its distribution without the present one."""
    if isinstance(site.dist, Bernoulli):
        return site.dist.other(site.z)
    dist: Any = site.dist
    gumbel = dist.noise(fold_in(site_key(key, site.name), 2), site.eta)
    return dist.from_noise(jnp.where(site.z > 0, -jnp.inf, gumbel), site.eta)


def choose(
    sites: tuple[Site, ...], size: Mapping[str, Array], key: Array, flips: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Chooses units of all sites: masks [flips, B, D...], and 1 / (flips q), [B, D...].

    q is proportional to sqrt(v) times the size of a unit, [1, D...], or 1 without sizes. The flips
    of an example are spread evenly over the cumulated probabilities.
    """
    root = {site.name: jnp.sqrt(spread(site)).astype(jnp.float32) for site in sites}
    batch = len(sites[0].z)

    def shares(weights):
        flat = jnp.concatenate([weights[s.name].reshape(batch, -1) for s in sites], 1)
        return flat / jnp.maximum(flat.sum(1, keepdims=True), TINY)

    sized = {name: x * size.get(name, 1.0) for name, x in root.items()}
    ends = jnp.cumsum((1 - PLAIN) * shares(sized) + PLAIN * shares(root), 1)
    ends = ends / jnp.maximum(ends[:, -1:], TINY)
    q = jnp.diff(ends, axis=1, prepend=0)  # what rounding has left of it is what is drawn
    u = uniform(fold_in(site_key(key, sites[0].name), 1), (batch,))
    places = (u[None] + jnp.arange(flips)[:, None]) / flips
    index = (ends[None] <= places[..., None]).sum(-1)
    mask = jax.nn.one_hot(index, q.shape[1], dtype=bool)
    weight = jnp.where(q > 0, 1 / (flips * q), 0)
    masks, weights, start = {}, {}, 0
    for site in sites:
        shape = root[site.name].shape
        end = start + root[site.name][0].size
        masks[site.name] = mask[..., start:end].reshape(flips, *shape)
        weights[site.name] = weight[:, start:end].reshape(shape)
        start = end
    return masks, weights


def jump(here: Point, there: Point, flipped: Array) -> Array:
    r"""What the units of a layer below the flipped one change in the loss by chance, [B]; mean 0.

    Such a unit is drawn twice from the same noise, with parameters eta and eta'. By the slopes at
    both ends its change :math:`\delta = z' - z` changes the loss by
    :math:`\tfrac12 (g + g')\,\delta`, of which :math:`\tfrac12 \bigl( g\, \mathbb E[\delta
    \mid z] + g'\, \mathbb E[\delta \mid z'] \bigr)` is the part that eta and eta' explain.

    Args:
      flipped: the units that were given and not drawn; they have no such change.
    """
    site, other = here.site, there.site
    if not isinstance(site.dist, Bernoulli):
        return jnp.zeros(len(site.z), here.slope.dtype)
    chance = here.slope * (other.z - site.z - drift(site, other))
    chance += there.slope * (other.z - site.z + drift(other, site))
    return per_example(jnp.where(flipped, 0, chance)) / 2


def drift(site: Site, other: Site) -> Array:
    """E[z' - z | z] of a Boolean unit with z = [u < p] and z' = [u < p'] from the same u."""
    dist: Any = site.dist
    sign = 2 * dist.decode(site.z) - 1
    here, there = (jax.nn.log_sigmoid(sign * x.eta) for x in (site, other))
    return sign * dist.span * jnp.minimum(jnp.expm1(there - here), 0)


def bracket(change: Array, here: Point, there: Point) -> tuple[Array, Array]:
    """The exact derivative less the mean of the rule, and g' - g along z' - z, for each unit.

    Both are for the unit that is flipped between the two; for others they mean nothing.

    Args:
      change: that of the losses, [B].
    """
    site, other = here.site, there.site
    p, rest = (over_event(x, site) for x in chance(site, site.z))
    _, rest_there = (over_event(x, site) for x in chance(site, other.z))
    symmetric = rest * rest_there / jnp.maximum(rest + rest_there, TINY)
    dz = other.z - site.z
    # The change without what the slopes at both ends make of it, whose mean is that of ZGR.
    trapezoid = over_units((here.slope + there.slope) * dz, site) / 2
    change = change.reshape(change.shape + (1,) * (trapezoid.ndim - 1)) - trapezoid
    step = site.dist.decode(other.z) - site.dist.decode(site.z)
    left = lambda point: ZGR(point.slope, point.site.z, site.eta, site.dist) - point.estimate
    gap = symmetric * over_event(change, site) * step + p * left(here) + rest * left(there)
    rise = over_units((there.slope - here.slope) * dz, site)
    return gap, rise / jnp.maximum(over_units(dz**2, site), TINY)
