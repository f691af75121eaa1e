"""Derivatives of the loss in the value of one continuous site: what Fourier rules are made of.

``continuous`` lifts a rule per family to an estimator. A rule sees the loss as a function f of the
site's value z, [B, D...] -> [B], constant to differentiation in all else; what is below the site is
redrawn with the noise of the run. Draws below that are smooth in their parameters pass the
derivative on. All others are held, and weighed by p(draw) over itself as a constant, whose
derivatives of every order are those of the distribution (DiCE: Foerster et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from fsb.distributions import Dirac, Laplace, MultivariateNormal, Normal
from fsb.errors import FsbError
from fsb.estimators._attach import attach_all
from fsb.estimators._tracing.evaluate import Trace
from fsb.sites import Site, ancestral, frozen, per_example, serve_all, site_key
from fsb.types import Array, Aux, Estimator, Eta, Run

Estimate = Callable[[Site, Trace, Array], tuple[Eta, dict[str, Array]]]
"""``estimate(site, f, key) -> (g, metrics)``, the key for noise of its own."""

Rules = Mapping[type, tuple[int, Estimate]]
"""By family: the highest order of the derivatives in z that the rule takes, and the rule."""

SMOOTH = (Normal, Laplace, MultivariateNormal, Dirac)  # draws with derivatives of any order


def continuous(name: str, rules: Rules) -> Estimator:
    """One plain run, and at each site an estimate from the derivatives of f.

    Args:
      name: of the estimator, for error messages.
      rules: for each family that it serves, subclasses included.
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
    return jax.tree.map(jax.lax.stop_gradient, site)


def loss_below(run: Run, sites: Sequence[Site], layer: int, key: Array, order: int) -> Trace:
    """A trace of f: the losses [B] in z of one site, those above held and those below redrawn."""
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
    """From the derivative in a family's parameters to that in its eta."""
    return jax.vjp(parameters, eta)[1](g)[0]
