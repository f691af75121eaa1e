"""Local estimators: the rule sits on the sample and needs only the cotangent of that sample.

A *rule* ``rule(key, eta, dist) -> (z, hard)`` draws a value and carries its own derivative.
``local(rule)`` makes an estimator of it, for any number of layers at the cost of one evaluation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax

from fsb.distributions import Bernoulli
from fsb.sites import Site, site_key
from fsb.types import Array, Aux, Distribution, Estimator, Eta, FsbError

Rule = Callable[[Array, Eta, Distribution], tuple[Array, Array]]


def local(rule: Rule) -> Estimator:
    """Lifts a rule to an estimator: one run, every site drawn by the rule."""

    def sampler_of(key):
        def sampler(name, dist, eta):
            try:
                z, hard = rule(site_key(key, name), eta, dist)
            except FsbError as error:
                raise FsbError(f"site {name!r}: {error}") from None
            return Site(name, dist, eta, z, hard)

        return sampler

    def surrogate(run, control, state, key):
        losses, _ = run(sampler_of(key))
        return losses, Aux(0.0, state, {})

    return Estimator(lambda key, sites: ((), ()), surrogate)


def boolean(name: str, draw: Callable, slope: Callable) -> Estimator:
    """A local estimator for Bernoulli sites whose derivative is the cotangent times a slope.

    Args:
      name: of the estimator, for error messages.
      draw: ``draw(key, eta, dist) -> (z, hard, extra)``; ``extra`` is kept for the slope.
      slope: ``slope(eta, hard, extra, dist) -> dz/deta`` as the estimator pretends it to be, in
        the unit's own encoding: eta_bar = g * slope, all of shape [B, D...].
    """

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
    def attach(key, eta, dist):
        z, hard, _ = draw(key, eta, dist)
        return z, hard

    def forward(key, eta, dist):
        z, hard, extra = draw(key, eta, dist)
        return (z, hard), (eta, hard, extra)

    def backward(dist, residual, cotangents):
        eta, hard, extra = residual
        eta_bar = cotangents[0] * slope(eta, hard, extra, dist)
        return None, eta_bar.astype(eta.dtype)

    attach.defvjp(forward, backward)

    def rule(key, eta, dist):
        if not isinstance(dist, Bernoulli):
            raise FsbError(f"{name} serves Bernoulli sites, not {type(dist).__name__}")
        return attach(key, eta, dist)

    return local(rule)


def draw_hard(key: Array, eta: Array, dist: Bernoulli) -> tuple[Array, Array, tuple]:
    """The plain draw: what is handed on is the hard sample itself."""
    z = dist.sample(key, eta)
    return z, z, ()


def mean_slope(eta: Array, dist: Bernoulli) -> Array:
    """d mean / d eta = (high - low) sigmoid(eta) sigmoid(-eta)."""
    return dist.span * jax.nn.sigmoid(eta) * jax.nn.sigmoid(-eta)


def half_slope(eta: Array, hard: Array, dist: Bernoulli) -> Array:
    """The DARN slope, (high - low) / 2 * sigmoid(-s eta): 1 - p(drawn value)."""
    sign = 2 * dist.decode(hard) - 1
    return 0.5 * dist.span * jax.nn.sigmoid(-sign * eta)
