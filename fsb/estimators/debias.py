"""A local rule made unbiased: what it leaves out is measured at one flipped unit."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fsb.constraints import known
from fsb.distributions import Bernoulli, Categorical
from fsb.errors import FsbError
from fsb.estimators._attach import attach_all
from fsb.estimators._one_flip import (
    TINY,
    Point,
    bracket,
    choose,
    followed,
    jump,
    other_value,
    over_event,
    over_units,
    spread,
)
from fsb.sites import Site, ancestral, per_example, serve_all, serve_batch
from fsb.types import Array, Aux, Estimator

SHARE = 0.01  # of the average unit in what is known of each
START = 1e-6  # weight of the first guess that all units have brackets of the same size


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
      constant on them, so the same loss, but straighter in between, where rules near
      straight-through have less bias and those near DARN less variance.
    * the size :math:`\rho_i` of its bracket: :math:`q_i \propto \sqrt{v_i}\,\rho_i`, over the units
      of all layers; a tenth of q has :math:`\rho_i = 1`.

    Categorical units: J moves to one of its other values k, with probability in proportion to
    theirs. With :math:`\Delta = e_k - e_z, a = 1 - \pi_z, b = 1 - \pi_k`, B the estimates of the
    rule at both values and A those of ``zgr``, the bracket is

    .. math:: \tfrac{ab}{a + b} \bigl( f_k - f_z - \tfrac12 (g_k + g_z) \cdot \Delta \bigr) \Delta
        + \pi_z (A_z - B_z) + (1 - \pi_z)(A_k - B_k),

    the same as above for two values. For more, ``zgr`` is the rule to take: its A - B vanishes.

    Several layers: what lies below a flipped unit is drawn again from the same noise. Of the jumps
    of Boolean units there, f_1 - f_0 keeps what their probabilities explain, by the slopes of both
    runs; those of categorical units are kept whole, and add variance.

    Costs 1 + ``flips`` evaluations of the loss for any number of layers, all differentiated in the
    values; more than one flip seldom pays. The loss must be differentiable in the values. Examples
    must be independent (no BatchNorm). Supports Bernoulli and Categorical sites.

    Source: none; docs/debias.md has the proofs.

    Args:
      rule: a local estimator whose derivative is a function of an ordinary draw: st, darn, mve,
        zgr, reinmax, gst, foust(delta=0), or ``local`` with a ``pull``; mve(8) is a good choice.
      flips: units flipped per example.
      learn: otherwise h = 0 and all :math:`\rho_i` are equal.
      decay: of the running means per step, in [0, 1).

    Raises:
      FsbError: if an argument is out of range or the rule is none of these.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: ((sample("b", fsb.Bernoulli(), eta) + 0.2) ** 3).sum(-1)
    >>> estimator, eta = fsb.debias(fsb.st(), learn=False), jnp.zeros((1, 1))
    >>> draws = fsb.sample_gradients(estimator, loss, eta, jax.random.key(0), 10_000)
    >>> bool(abs(draws.mean() - (1.2**3 - 0.2**3) / 4) < 0.02)
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
        if not sites:
            raise FsbError("debias: the loss samples no site")
        if not learn:
            return (), ()
        shapes = {site.name: jax.eval_shape(spread, site).shape[1:] for site in sites}
        start = lambda shape: Sums(
            jnp.zeros((2, *shape), jnp.float32), jnp.full((2, *shape), START, jnp.float32)
        )
        return (), {name: start(shape) for name, shape in shapes.items()}

    def surrogate(run, control, state, key):
        drawn, shapes = jax.eval_shape(lambda: run(ancestral(key)))
        serve_batch("debias", drawn, shapes)
        zeros = {site.name: (jnp.zeros_like(site.eta), jnp.zeros_like(site.z)) for site in shapes}
        curvature = {name: ratio(sums.curvature) for name, sums in state.items()} if learn else {}
        size = {name: jnp.sqrt(ratio(sums.square)) for name, sums in state.items()} if learn else {}

        def at(places):
            """Losses and sites of a run, with the estimate of the rule and the slope at each."""

            def moved(shifts):
                losses, sites = run(followed(ancestral(key), pull, shifts, places))
                if learn:
                    flat = [straight(site, curvature[site.name]) for site in sites]
                    losses = losses + sum(flat, jnp.float32(0)).astype(losses.dtype)
                return losses, sites

            losses, back, sites = jax.vjp(moved, zeros, has_aux=True)
            (found,) = back(jnp.ones_like(losses))
            points = {s.name: Point(s, *found[s.name]) for s in sites}
            return losses, sites, jax.lax.stop_gradient(points)

        losses, sites, here = at({})
        fixed = jax.lax.stop_gradient(sites)
        others = {site.name: other_value(site, key) for site in fixed}
        chosen, weights = choose(fixed, size, key, flips)

        def flip(chosen):
            places = {s.name: (over_event(chosen[s.name], s), others[s.name]) for s in fixed}
            changed, _, there = at(places)
            jumps = [jump(here[name], there[name], places[name][0]) for name in here]
            change = jax.lax.stop_gradient(changed - losses) - sum(jumps)
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


class Sums(NamedTuple):
    """Running sums over the flips of each unit: [2, D...], a quantity and its weights.

    curvature: v^2 h, with the weights v^2; v is that of ``spread``.
    square: the squared bracket, with the weights v.
    """

    curvature: Array
    square: Array


def straight(site: Site, curvature: Array) -> Array:
    """-sum_i h_i (z_i - m_i)^2 / 2, [B], less itself: zero, with the derivatives."""
    support = site.dist.support(site.eta)
    away = site.z - (support.min() + support.max()) / 2
    bulge = per_example(over_event(curvature, site) * away**2) / 2
    return jax.lax.stop_gradient(bulge) - bulge


def ratio(sums: Array) -> Array:
    """A quantity over its weights, [1, D...]; units that were seldom flipped lean on the others."""
    mean = sums.mean(tuple(range(1, sums.ndim)), keepdims=True)
    total, weight = sums + SHARE * mean
    return (total / jnp.maximum(weight, TINY))[None]


def updated(sums: Sums, decay: float, site: Site, mask: Array, gap: Array, bend: Array) -> Sums:
    """The sums with what the flips have shown."""
    v = jnp.broadcast_to(spread(site), mask.shape)
    curvature = ratio(sums.curvature)[None] + bend  # it was measured on the straightened loss

    def add(old, quantity, weight):
        new = [jnp.where(mask, x, 0).sum((0, 1)) for x in (quantity, weight)]
        return decay * old + jnp.stack(new).astype(old.dtype)

    return Sums(
        add(sums.curvature, v**2 * curvature, v**2),
        add(sums.square, over_units(gap**2, site), v),
    )
