"""Builds estimators for continuous sites from derivatives of the loss in a site's value.

``continuous`` turns one rule per distribution into an estimator. A rule receives the loss as a
function f of the site's value z, [B, D...] -> [B], with everything else constant. The sites below
are resampled with the noise of the run. Samples that are smooth in their parameters pass the
derivative on. The others are held fixed and reweighted by p(z) / stop_gradient(p(z)), whose
derivatives of every order are those of the distribution.

Source: Foerster et al. 2018 (DiCE), arXiv:1802.05098.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from fsb.distributions import Dirac, Laplace, MultivariateNormal, Normal, Uniform
from fsb.errors import FsbError
from fsb.estimators._attach import attach_all
from fsb.estimators._tracing.evaluate import Trace
from fsb.sites import Site, ancestral, frozen, per_example, serve_all, site_key
from fsb.types import Array, Aux, Estimator, Eta, Run

Estimate = Callable[[Site, Trace, Array], tuple[Eta, dict[str, Array]]]
"""``estimate(site, f, key) -> (g, metrics)``; the key is for noise of the rule itself."""

Rules = Mapping[type, tuple[int, Estimate]]
"""By distribution: the highest order of derivative in z that the rule takes, and the rule."""

SMOOTH = (
    Normal,
    Laplace,
    MultivariateNormal,
    Dirac,
    Uniform,
)  # samples with derivatives of any order


def continuous(name: str, rules: Rules) -> Estimator:
    """An estimator of one plain run, with a rule applied at each site.

    Args:
      name: of the estimator, for error messages.
      rules: for each supported distribution, including its subclasses.
    """

    def init(key, sites):
        serve_all(name, sites, *rules)
        return (), ()

    def surrogate(run, control, state, key):
        losses, sites = run(frozen(ancestral(key)))
        found: list[Eta] = []
        metrics: dict[str, Array] = {}
        for i, site in enumerate(sites):
            order, rule = next(rules[kind] for kind in rules if isinstance(site.dist, kind))
            f = loss_below(run, sites, i, key, order)
            try:
                g, notes = rule(constant(site), f, jax.random.fold_in(site_key(key, site.name), 1))
            except FsbError as error:
                raise FsbError(f"site {site.name!r}: {error}") from None
            found.append(g)
            metrics |= {f"{site.name}_{k}": v for k, v in notes.items()}
        return attach_all(losses, sites, found), Aux(0.0, state, metrics)

    return Estimator(init, surrogate)


def constant(site: Site) -> Site:
    """The site, constant to differentiation."""
    return jax.tree.map(jax.lax.stop_gradient, site)


def loss_below(run: Run, sites: Sequence[Site], layer: int, key: Array, order: int) -> Trace:
    """f: the losses [B] as a function of one site's z, sites above held, sites below resampled."""
    held = {site.name: site.z for site in sites[:layer]}

    def f(z):
        log_p = []

        def sampler(name, dist, eta):
            if name == sites[layer].name:
                return Site(name, dist, eta, z, z)
            if name in held:
                return Site(name, dist, eta, held[name], held[name])
            passes = isinstance(dist, SMOOTH) or (dist.reparameterized and order == 1)
            drawn = ancestral(key)(name, dist, eta if passes else jax.lax.stop_gradient(eta))
            if not passes:
                log_p.append(per_example(dist.log_prob(eta, drawn.z)))
            return replace(drawn, eta=eta, drawn=False)

        losses, _ = run(sampler)
        total = sum(log_p, jnp.zeros_like(losses))
        return losses * jnp.exp(total - jax.lax.stop_gradient(total))

    return Trace(f, sites[layer].z)


def pull(parameters: Callable[[Eta], Any], eta: Eta, g: Any) -> Eta:
    """Maps the derivative in a distribution's parameters to the derivative in its eta."""
    return jax.vjp(parameters, eta)[1](g)[0]
