"""Local estimators: the rule sits on the sample and needs only the cotangent of that sample.

A rule draws a value from a site's noise and gives it a derivative in eta. ``local(draw)`` makes an
estimator of it, for any number of layers at the cost of one evaluation. Most rules draw plainly and
only pretend a derivative: ``pretend`` builds them from one pull-back per family.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from fsb.distributions import Bernoulli
from fsb.distributions.bernoulli import bit_variance
from fsb.errors import FsbError
from fsb.sites import Site, serve, site_key
from fsb.types import Array, Aux, Distribution, Estimator, Eta, PyTree, Rule


def plain_noise(key: Array, eta: Eta, dist: Distribution) -> Array:
    """The noise that the distribution itself draws from."""
    return dist.noise(key, eta)


def local(
    draw: Callable[[PyTree, Eta, Distribution], tuple[Array, Array]],
    noise: Callable[[Array, Eta, Distribution], PyTree] = plain_noise,
) -> Estimator:
    """Lifts a rule to an estimator: one run, every site drawn by the rule.

    Args:
      draw: ``draw(noise, eta, dist) -> (z, hard)``: the value handed on, with the derivative in eta
        that the rule gives it, and a draw from the distribution.
      noise: ``noise(key, eta, dist)``; the distribution's own unless told.
    """
    rule = Rule(noise, draw)

    def surrogate(run, control, state, key):
        losses, _ = run(ruled(rule, key))
        return losses, Aux(0.0, state, {})

    return Estimator(lambda key, sites: ((), ()), surrogate, rule)


def ruled(rule: Rule, key: Array):
    """The sampler that draws every site by a rule."""

    def sampler(name, dist, eta):
        try:
            z, hard = rule.draw(rule.noise(site_key(key, name), eta, dist), eta, dist)
        except FsbError as error:
            raise FsbError(f"site {name!r}: {error}") from None
        return Site(name, dist, eta, z, hard)

    return sampler


class Drawn(NamedTuple):
    """What a pretended derivative may depend on: eta and hard as at the site, and an extra."""

    eta: Array
    hard: Array
    extra: Any


Pull = Callable[[Array, Drawn, Any], Array]
"""``pull(g, drawn, dist) -> eta_bar``, from the cotangent of z to that of eta, both [B, D...]."""


def draw_hard(noise: Array, eta: Array, dist: Any) -> tuple[Array, Array, tuple]:
    """The plain draw: what is handed on is the hard sample itself."""
    z = dist.from_noise(noise, eta)
    return z, z, ()


def pretend(
    name: str,
    pulls: Mapping[type, Pull],
    draw: Callable = draw_hard,
    noise: Callable = plain_noise,
) -> Estimator:
    """A local estimator whose draw is one thing and whose derivative is another.

    Args:
      name: of the estimator, for error messages.
      pulls: the pull-back for each family of distributions that it serves.
      draw: ``draw(noise, eta, dist) -> (z, hard, extra)``; ``extra`` is kept for the pull-back.
      noise: as for ``local``.
    """

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
    def attach(noise, eta, dist):
        z, hard, _ = draw(noise, eta, dist)
        return z, hard

    def forward(noise, eta, dist):
        z, hard, extra = draw(noise, eta, dist)
        return (z, hard), Drawn(eta, hard, extra)

    def backward(dist, drawn, cotangents):
        eta_bar = pulls[type(dist)](cotangents[0], drawn, dist)
        return None, eta_bar.astype(drawn.eta.dtype)

    attach.defvjp(forward, backward)

    def checked_noise(key, eta, dist):
        serve(name, dist, *pulls)
        return noise(key, eta, dist)

    return local(attach, checked_noise)


def mean_slope(eta: Array, dist: Bernoulli) -> Array:
    """d mean / d eta = (high - low) p (1 - p)."""
    return dist.span * bit_variance(eta)


def half_slope(eta: Array, hard: Array, dist: Bernoulli) -> Array:
    """The DARN slope, (high - low) / 2 * sigmoid(-s eta): 1 - p(drawn value)."""
    sign = 2 * dist.decode(hard) - 1
    return 0.5 * dist.span * jax.nn.sigmoid(-sign * eta)


def softmax_pull(p: Array, g: Array) -> Array:
    """(diag(p) - p p^T) g over the last axis: the pull-back of softmax where its value is p."""
    return p * (g - (p * g).sum(-1, keepdims=True))


def check_temperature(temperature: float) -> None:
    if not (temperature > 0 and math.isfinite(temperature)):
        raise FsbError(f"temperature={temperature}: it must be positive and finite")
