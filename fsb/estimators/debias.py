"""A local rule made unbiased: what it leaves out is measured at one flipped unit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fsb.constraints import known
from fsb.distributions import Bernoulli, Categorical
from fsb.distributions.bernoulli import bit_variance
from fsb.errors import FsbError
from fsb.estimators._attach import attach_all
from fsb.runtime.random import uniform
from fsb.sites import (
    Sampler,
    Site,
    ancestral,
    per_example,
    sampler,
    serve_all,
    serve_batch,
    site_key,
)
from fsb.types import Array, Aux, Estimator

SHARE = 0.1  # of q that is not learned, and of the average unit in what is learned of a unit
TINY = 1e-6


def debias(rule: Estimator, flips: int = 1, learn: bool = True, decay: float = 0.99) -> Estimator:
    r"""A local rule whose bias is measured at one flipped unit and taken away.

    A rule estimates the derivative in unit i of all layers by :math:`w_i(z_i)\, g_i(z)`, where g is
    the slope of the loss through the rule itself in the layers below. For each example one unit J
    is drawn with probability q_J, and the model is run again with J flipped and the noise of the
    first run elsewhere. With f_1, f_0 the losses at high and low, :math:`g_{J1}, g_{J0}` the
    slopes there, and v = p (1 - p),

    .. math:: \bar\eta_i = w_i(z_i)\, g_i(z) + \frac{[i = J]}{q_J} \bigl( v_J (f_1 - f_0)
        - p_J\, w_J(1)\, g_{J1} - (1 - p_J)\, w_J(0)\, g_{J0} \bigr).

    The bracket is the true derivative less the mean of the rule, both given everything but z_J:
    unbiased for any rule, any q, any number of layers.

    With ``learn`` two things are learned from the flips, one number per unit each:

    * its curvature :math:`h_i`, the running mean of :math:`(g_1 - g_0) / L`. The rule is applied to
      :math:`f(z) - \tfrac12 \sum_i h_i (z_i - m_i)^2` with m the midpoint of the two values:
      constant on them, so the same loss, but straighter in between. Straight-through, whose error
      is the curvature, then has less bias than DARN and half its variance or less.
    * the size :math:`\rho_i` of its bracket: :math:`q_i \propto \sqrt{v_i}\,\rho_i`, over the units
      of all layers.

    Categorical units: J moves to one of its other values k, with probability in proportion to
    theirs. With :math:`a = 1 - \pi_z, b = 1 - \pi_k` the true derivative in the bracket becomes
    :math:`\tfrac{ab}{a + b} (f_k - f_z)(e_k - e_z)`, and the mean of the rule
    :math:`\pi_z B_z + (1 - \pi_z) B_k` with B its estimates at both values.

    Costs 1 + ``flips`` evaluations of the loss for any number of layers, all differentiated in the
    values; more than one flip seldom pays. The loss must be differentiable in the values. Examples
    must be independent (no BatchNorm). Supports Bernoulli and Categorical sites.

    Source: none; docs/debias.md has the proofs.

    Args:
      rule: a local estimator whose derivative is a function of an ordinary draw: st, darn, mve,
        zgr, reinmax, gst, foust(delta=0), or ``local`` with a ``pull``.
      flips: units flipped per example.
      learn: otherwise h = 0 and all :math:`\rho_i` are equal.
      decay: of the running means per step, in [0, 1).

    Raises:
      FsbError: if an argument is out of range or the rule is none of these.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: ((sample("b", fsb.Bernoulli(), eta) - 0.45) ** 2).sum(-1)
    >>> estimator = fsb.debias(fsb.darn(), learn=False)
    >>> draws = fsb.sample_gradients(estimator, loss, jnp.zeros((1, 1)), jax.random.key(0), 100)
    >>> bool(abs(draws - 0.025).max() < 1e-6)  # one unit, always the one that is flipped
    True
    """
    pull = getattr(getattr(rule, "rule", None), "pull", None)
    if pull is None:
        raise FsbError(
            "debias: the rule must be a function of an ordinary draw: st, darn, mve, zgr, reinmax, "
            "gst, foust(delta=0), or local with a pull"
        )
    if flips < 1:
        raise FsbError(f"debias: flips={flips}: it must be at least 1")
    if known(decay) and not 0 <= decay < 1:
        raise FsbError(f"debias: decay={decay}: it must lie in [0, 1)")

    def init(key, sites):
        serve_all("debias", sites, Bernoulli, Categorical)
        if not learn:
            return (), ()
        shapes = {site.name: jax.eval_shape(spread, site).shape[1:] for site in sites}
        start = lambda shape: Sums(jnp.zeros((2, *shape)), jnp.full((2, *shape), TINY))
        return (), {name: start(shape) for name, shape in shapes.items()}

    def surrogate(run, control, state, key):
        shapes = jax.eval_shape(lambda: run(ancestral(key))[1])
        zeros = {site.name: (jnp.zeros_like(site.eta), jnp.zeros_like(site.z)) for site in shapes}
        curvature = {name: ratio(sums.curvature) for name, sums in state.items()} if learn else {}
        size = {name: jnp.sqrt(ratio(sums.square)) for name, sums in state.items()} if learn else {}

        def at(places):
            """Losses and sites of a run, with the estimate of the rule and the slope at each."""

            def moved(shifts):
                losses, sites = run(followed(ancestral(key), pull, shifts, places))
                return losses + sum(straight(s, curvature.get(s.name)) for s in sites), sites

            losses, back, sites = jax.vjp(moved, zeros, has_aux=True)
            (found,) = back(jnp.ones_like(losses))
            points = {s.name: Point(s, *found[s.name]) for s in sites}
            return losses, sites, jax.lax.stop_gradient(points)

        losses, sites, here = at({})
        serve_batch("debias", losses, sites)
        fixed = jax.lax.stop_gradient(sites)
        others = {site.name: other_value(site, key) for site in fixed}
        chosen, weights = choose(fixed, size, key, flips)

        def flip(chosen):
            places = {s.name: (over_event(chosen[s.name], s), others[s.name]) for s in fixed}
            changed, _, there = at(places)
            change = jax.lax.stop_gradient(changed - losses)
            return {name: bracket(change, here[name], there[name]) for name in here}

        seen = jax.vmap(flip)(chosen)
        estimates, after = [], {}
        for site in fixed:
            mask, (gap, bend) = chosen[site.name], seen[site.name]
            gap = jnp.where(over_event(mask, site), gap, 0)
            correction = over_event(weights[site.name], site) * gap.sum(0)
            estimates.append(here[site.name].estimate + correction)
            if learn:
                after[site.name] = updated(state[site.name], decay, site, mask, gap, bend)
        return attach_all(losses, sites, estimates), Aux(0.0, after if learn else (), {})

    return Estimator(init, surrogate)


class Point(NamedTuple):
    """A site of a run, the estimate of the rule in its eta, and the slope in its value."""

    site: Site
    estimate: Array
    slope: Array


class Sums(NamedTuple):
    """Running sums over the flips of each unit: [2, D...], a quantity and its weights.

    curvature: v^2 h, with the weights v^2; v is that of ``spread``.
    square: the squared bracket, with the weights v.
    """

    curvature: Array
    square: Array


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
        return replace(site, z=follow(pull, eta + nudge, jax.lax.stop_gradient(z) + shift))

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
    gumbel = dist.noise(jax.random.fold_in(site_key(key, site.name), 2), site.eta)
    return dist.from_noise(jnp.where(site.z > 0, -jnp.inf, gumbel), site.eta)


def straight(site: Site, curvature: Array | None) -> Array:
    """-sum_i h_i (z_i - m_i)^2 / 2, [B], less itself: zero, with the derivatives."""
    if curvature is None:
        return jnp.zeros(len(site.z))
    support = site.dist.support(site.eta)
    away = site.z - (support.min() + support.max()) / 2
    bulge = per_example(over_event(curvature, site) * away**2) / 2
    return jax.lax.stop_gradient(bulge) - bulge


def choose(
    sites: tuple[Site, ...], size: Mapping[str, Array], key: Array, flips: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Chooses units of all sites: masks [flips, B, D...], and 1 / (flips q), [B, D...].

    The flips of an example are spread evenly over the cumulated probabilities.
    """
    root = {site.name: jnp.sqrt(spread(site)).astype(jnp.float32) for site in sites}
    batch = len(sites[0].z)

    def shares(weights):
        flat = jnp.concatenate([weights[s.name].reshape(batch, -1) for s in sites], 1)
        return flat / jnp.maximum(flat.sum(1, keepdims=True), TINY**4)

    sized = {name: x * size.get(name, 1.0) for name, x in root.items()}
    ends = jnp.cumsum((1 - SHARE) * shares(sized) + SHARE * shares(root), 1)
    ends = ends / jnp.maximum(ends[:, -1:], TINY**4)
    q = jnp.diff(ends, axis=1, prepend=0)  # what rounding has left of it is what is drawn
    u = uniform(jax.random.fold_in(site_key(key, sites[0].name), 1), (batch,))
    places = (u + jnp.arange(flips)[:, None]) / flips
    index = (ends <= places[..., None]).sum(-1)
    mask = jax.nn.one_hot(index, q.shape[1], dtype=bool) & (q > 0)
    weight = jnp.where(q > 0, 1 / (flips * q), 0)
    masks, weights, start = {}, {}, 0
    for site in sites:
        shape = root[site.name].shape
        end = start + root[site.name][0].size
        masks[site.name] = mask[..., start:end].reshape(flips, *shape)
        weights[site.name] = weight[:, start:end].reshape(shape)
        start = end
    return masks, weights


def bracket(change: Array, here: Point, there: Point) -> tuple[Array, Array]:
    """The exact derivative less the mean of the rule, and g' - g along z' - z, for each unit.

    Both are for the unit that is flipped between the two; for others they mean nothing.

    Args:
      change: that of the losses, [B].
    """
    site, other = here.site, there.site
    p, rest = (over_event(x, site) for x in chance(site, site.z))
    _, rest_there = (over_event(x, site) for x in chance(site, other.z))
    symmetric = rest * rest_there / jnp.maximum(rest + rest_there, TINY**4)
    step = site.dist.decode(other.z) - site.dist.decode(site.z)
    change = change.reshape(change.shape + (1,) * (step.ndim - 1))
    gap = symmetric * change * step - p * here.estimate - rest * there.estimate
    dz = other.z - site.z
    rise = over_units((there.slope - here.slope) * dz, site)
    return gap, rise / jnp.maximum(over_units(dz**2, site), TINY**4)


def ratio(sums: Array) -> Array:
    """A quantity over its weights, [D...]; units that were seldom flipped lean on the others."""
    mean = sums.mean(tuple(range(1, sums.ndim)), keepdims=True)
    total, weight = sums + SHARE * mean
    return total / jnp.maximum(weight, TINY**4)


def updated(sums: Sums, decay: float, site: Site, mask: Array, gap: Array, bend: Array) -> Sums:
    """The sums with what the flips have shown."""
    v = jnp.broadcast_to(spread(site), mask.shape)
    curvature = ratio(sums.curvature) + bend  # it was measured on the straightened loss

    def add(old, quantity, weight):
        new = [jnp.where(mask, x, 0).sum((0, 1)) for x in (quantity, weight)]
        return decay * old + jnp.stack(new).astype(old.dtype)

    return Sums(
        add(sums.curvature, v**2 * curvature, v**2),
        add(sums.square, over_units(gap**2, site), v),
    )
