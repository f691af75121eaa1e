"""Builds estimators for continuous sites from derivatives of the loss in a site's value.

``continuous`` turns one rule per distribution into an estimator. A rule receives the loss as a
function f of the site's value z, [B, D...] -> [B], with everything else constant. The sites below
are resampled with the noise of the run. Samples that are smooth in their parameters pass the
derivative on. The others are held fixed and reweighted by p(z) / stop_gradient(p(z)), whose
derivatives of every order are those of the distribution.

Source: Foerster et al. 2018 (DiCE), arXiv:1802.05098.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Any

import jax

from fsb.distributions import Dirac, Laplace, MultivariateNormal, Normal, Uniform
from fsb.errors import FsbError
from fsb.estimators._attach import attach_all, one_run
from fsb.estimators._tracing.evaluate import Trace
from fsb.estimators._turns import at_turn, each_turn, values_until
from fsb.runtime.random import fold_in
from fsb.sites import Sampler, Site, ancestral, given, sampler, serve_all, site_key
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
        losses, sites = one_run(name, run, key)
        found: list[Eta] = []
        metrics: dict[str, Array] = {}
        for i, site in enumerate(sites):
            order, rule = next(rules[kind] for kind in rules if isinstance(site.dist, kind))

            def at_one(site, turn, own_key, i=i, rule=rule, order=order):
                f = loss_below(run, sites, i, turn, passing(ancestral(key), order))
                try:
                    return rule(site, f, fold_in(site_key(own_key, site.name), 1))
                except FsbError as error:
                    raise FsbError(f"site {site.name!r}: {error}") from None

            if site.scans:
                only_g = lambda *turn, at_one=at_one: at_one(*turn)[0]
                found.append(each_turn(constant(site), key, only_g))
                continue
            g, notes = at_one(constant(site), None, key)
            found.append(g)
            metrics |= {f"{site.name}_{k}": v for k, v in notes.items()}
        return attach_all(losses, sites, found), Aux(0.0, state, metrics)

    return Estimator(init, surrogate)


def constant(site: Site) -> Site:
    """The site, constant to differentiation."""
    return jax.tree.map(jax.lax.stop_gradient, site)


@sampler
class passing:
    """Samples that pass derivatives up to an order on; those that cannot are weighted."""

    sampler: Sampler
    order: int = field(metadata={"static": True})

    def __call__(self, name, dist, eta):
        if isinstance(dist, SMOOTH) or (dist.reparameterized and self.order == 1):
            return replace(self.sampler(name, dist, eta), drawn=False)
        site = self.sampler(name, dist, jax.lax.stop_gradient(eta))
        return replace(site, eta=eta, drawn=False, log_weight=dist.log_prob(eta, site.z))

    def block(self, block):
        return passing(self.sampler.block(block), self.order)


def loss_below(run: Run, sites: tuple[Site, ...], layer: int, turn: Any, below: Sampler) -> Trace:
    """f: the losses [B] as a function of one site's z, sites above held, sites below resampled."""
    z = sites[layer].z if turn is None else at_turn(sites[layer], turn).z

    def f(z):
        values, until = values_until(sites, layer, turn, z)
        return run(given(values, below, until))[0]

    return Trace(f, z)


def pull(parameters: Callable[[Eta], Any], eta: Eta, g: Any) -> Eta:
    """Maps the derivative in a distribution's parameters to the derivative in its eta."""
    return jax.vjp(parameters, eta)[1](g)[0]
