"""Local estimators: rules that act at the sample and need only its cotangent.

A rule samples a value from a site's noise and assigns it a derivative in eta. ``local(draw)`` turns
a rule into an estimator for any number of layers, at the cost of one evaluation. Most rules return
an ordinary sample with a substitute derivative; ``pretend`` builds these from one pullback per
distribution.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, NamedTuple

import jax

from fsb.constraints import known
from fsb.distributions import Bernoulli
from fsb.distributions.bernoulli import bit_variance
from fsb.errors import FsbError
from fsb.sites import Site, sampler, serve, site_key
from fsb.types import Array, Aux, Distribution, Estimator, Eta, PRNGKey, PyTree, Rule


def plain_noise(key: Array, eta: Eta, dist: Distribution) -> Array:
    """The noise of the distribution itself."""
    return dist.noise(key, eta)


def local(
    draw: Callable[[PyTree, Eta, Distribution], tuple[Array, Array]],
    noise: Callable[[Array, Eta, Distribution], PyTree] = plain_noise,
    pull: Callable[[Array, Array, Eta, Distribution], Array] | None = None,
) -> Estimator:
    """Builds an estimator from a rule: one run, in which every site is sampled by the rule.

    Args:
      draw: ``draw(noise, eta, dist) -> (z, hard)``: the value passed to the model, with the
        derivative in eta that the rule assigns to it, and a sample from the distribution.
      noise: ``noise(key, eta, dist)``; by default the noise of the distribution.
      pull: ``pull(g, z, eta, dist)``, the derivative of an ordinary draw z from its cotangent g;
        ``debias`` needs it.
    """
    rule = Rule(noise, draw, pull)

    def surrogate(run, control, state, key):
        losses, _ = run(ruled(rule, key))
        return losses, Aux(0.0, state, {})

    return Estimator(lambda key, sites: ((), ()), surrogate, rule)


@sampler
class ruled:
    """A sampler that applies a rule at every site."""

    rule: Rule = field(metadata={"static": True})
    key: PRNGKey

    def __call__(self, name, dist, eta):
        rule = self.rule
        try:
            z, hard = rule.draw(rule.noise(site_key(self.key, name), eta, dist), eta, dist)
        except FsbError as error:
            raise FsbError(f"site {name!r}: {error}") from None
        return Site(name, dist, eta, z, hard)

    def block(self, block):
        return ruled(self.rule, block.keys(self.key))


class Drawn(NamedTuple):
    """Residuals of the substitute derivative: eta and hard as in ``Site``, and an extra."""

    eta: Array
    hard: Array
    extra: Any


Pull = Callable[[Array, Drawn, Any], Array]
"""``pull(g, drawn, dist) -> eta_bar``: maps the cotangent of z to that of eta, both [B, D...]."""


def draw_hard(noise: Array, eta: Array, dist: Any) -> tuple[Array, Array, tuple]:
    """Passes the sample from the distribution to the model."""
    z = dist.from_noise(noise, eta)
    return z, z, ()


def pretend(
    name: str,
    pulls: Mapping[type, Pull],
    draw: Callable = draw_hard,
    noise: Callable = plain_noise,
) -> Estimator:
    """A local estimator whose derivative is given separately from its sample.

    Args:
      name: the estimator's name, for error messages.
      pulls: the pullback for each distribution that it supports.
      draw: ``draw(noise, eta, dist) -> (z, hard, extra)``; ``extra`` is saved for the pullback.
      noise: as for ``local``.
    """

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
    def attach(noise, eta, dist):
        z, hard, _ = draw(noise, eta, dist)
        return z, hard

    def forward(noise, eta, dist):
        z, hard, extra = draw(noise, eta, dist)
        return (z, hard), Drawn(eta, hard, extra)

    def pulled(g, drawn, dist):
        return pulls[type(dist)](g, drawn, dist).astype(drawn.eta.dtype)

    def backward(dist, drawn, cotangents):
        return None, pulled(cotangents[0], drawn, dist)

    attach.defvjp(forward, backward)

    def checked_noise(key, eta, dist):
        serve(name, dist, *pulls)
        return noise(key, eta, dist)

    pull = lambda g, z, eta, dist: pulled(g, Drawn(eta, z, ()), dist)
    return local(attach, checked_noise, pull if draw is draw_hard else None)


def mean_slope(eta: Array, dist: Bernoulli) -> Array:
    """d mean / d eta = (high - low) p (1 - p)."""
    return dist.span * bit_variance(eta)


def half_slope(eta: Array, hard: Array, dist: Bernoulli) -> Array:
    """The DARN slope, (high - low) / 2 * sigmoid(-s eta); the sigmoid is 1 - p(sampled value)."""
    sign = 2 * dist.decode(hard) - 1
    return 0.5 * dist.span * jax.nn.sigmoid(-sign * eta)


def softmax_pull(p: Array, g: Array) -> Array:
    """(diag(p) - p p^T) g over the last axis: the pullback of a softmax with value p."""
    return p * (g - (p * g).sum(-1, keepdims=True))


def check_temperature(temperature: float, name: str = "temperature") -> None:
    if known(temperature) and not (temperature > 0 and math.isfinite(temperature)):
        raise FsbError(f"{name}={temperature}: it must be positive and finite")
