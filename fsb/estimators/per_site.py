"""Combinators that use different estimators at different sites."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field

import jax.numpy as jnp

from fsb.errors import FsbError
from fsb.estimators.local import ruled
from fsb.sites import Block, Sampler, Site, ancestral, frozen, sampler
from fsb.types import Array, Aux, Estimator, Run


def only(names: Collection[str], estimator: Estimator) -> Estimator:
    r"""Applies an estimator to the named sites; all other sites are sampled without gradient.

    .. math:: \bar\eta_l = \bar\eta_l^{\text{estimator}} \text{ for the named sites, else } 0

    Costs what the estimator costs for the named sites alone.

    Source: none; shows what the estimate of one layer contributes.

    Args:
      names: names of the sites.
      estimator: any estimator.

    Raises:
      FsbError: when first traced, if the model has no site of a given name.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sum(sample(n, fsb.Bernoulli(), eta[n])[:, 0] for n in "ab")
    >>> eta = {"a": jnp.zeros((1, 1)), "b": jnp.zeros((1, 1))}
    >>> _, grads = fsb.value_and_grad(fsb.only(["a"], fsb.st()), loss)(eta, jax.random.key(0))
    >>> grads["a"].item(), grads["b"].item()
    (0.25, 0.0)
    """
    chosen = tuple(names)

    def init(key, sites):
        _require("only", chosen, sites)
        return estimator.init(key, _named(sites, chosen))

    def surrogate(run, control, state, key):
        if estimator.rule is not None:
            own = dict.fromkeys(chosen, ruled(estimator.rule, key))
            losses, _ = run(mixed(own, frozen(ancestral(key))))
            return losses, Aux(0.0, state, {})
        return estimator.surrogate(_part(run, chosen, {}), control, state, key)

    return Estimator(init, surrogate)


def per_site(estimators: Mapping[str, Estimator]) -> Estimator:
    r"""Applies a different estimator to each site, by name.

    .. math:: \bar\eta_l = \bar\eta_l^{\text{(estimator of } l)}

    Local estimators act within every run, so the others all see the same model, and the derivative
    of a sample includes what is attached below it. With G different non-local estimators, the
    estimates of G surrogates are added; the direct derivative of the loss is counted once. Sites
    that share an estimator are handled by it together. An unbiased estimator stays unbiased beside
    others, which keep their own bias above and below it. The cost is the sum over the estimators,
    each for its own sites.

    Source: none; common in hierarchical models, such as pathwise for continuous layers with DisARM
    for Boolean ones.

    Args:
      estimators: site name -> estimator; must cover every site of the model.

    Raises:
      FsbError: when first traced, if a site has no estimator or a name has no site.

    >>> import jax, jax.numpy as jnp, fsb
    >>> def loss(eta, sample):
    ...     b = sample("b", fsb.Bernoulli(), eta)
    ...     return sample("x", fsb.Normal(), (b, jnp.ones((1, 1))))[:, 0]
    >>> estimator = fsb.per_site({"b": fsb.disarm(), "x": fsb.pathwise()})
    >>> fsb.value_and_grad(estimator, loss)(jnp.zeros((1, 1)), jax.random.key(0))[1].item()
    0.25
    """
    rules = {name: e.rule for name, e in estimators.items() if e.rule is not None}
    groups: list[tuple[Estimator, list[str]]] = []  # of the non-local estimators
    for name, estimator in estimators.items():
        if estimator.rule is None:
            for other, names in groups:
                if other is estimator:
                    names.append(name)
                    break
            else:
                groups.append((estimator, [name]))

    def init(key, sites):
        _require("per_site", tuple(estimators), sites)
        for site in sites:
            if site.name not in estimators:
                raise FsbError(
                    f"per_site: site {site.name!r} has no estimator; "
                    f"those listed are {', '.join(estimators)}"
                )
        pairs = [e.init(key, _named(sites, names)) for e, names in groups]
        return tuple(c for c, _ in pairs), tuple(s for _, s in pairs)

    def surrogate(run, control, state, key):
        own = {name: ruled(rule, key) for name, rule in rules.items()}
        plain = run(mixed(own, frozen(ancestral(key))))[0]
        losses, objective, after = plain, jnp.float32(0), []
        metrics: dict[str, Array] = {}
        for (estimator, names), c, s in zip(groups, control, state, strict=True):
            estimate, aux = estimator.surrogate(_part(run, names, own), c, s, key)
            # The difference has this estimate's gradient without the direct derivative of the loss.
            losses = losses + (estimate - plain)
            objective = objective + aux.objective
            after.append(aux.state)
            metrics |= {f"{names[0]}_{k}": v for k, v in aux.metrics.items()}
        return losses, Aux(objective, tuple(after), metrics)

    return Estimator(init, surrogate)


def _part(run: Run, names: Collection[str], own: Mapping[str, Sampler]) -> Run:
    """The run as seen by the estimator of some of the sites.

    Any other site that the estimator would sample is sampled by its own rule, or without gradient.
    If the estimator relaxes, replays or averages the sites below its own, it does so for all of
    them.
    """

    def part(sampler):
        losses, sites = run(partly(sampler, own, tuple(names)))
        return losses, _named(sites, names)

    return part


@sampler
class mixed:
    """Some sites by samplers of their own, all others by one."""

    own: Mapping[str, Sampler]
    otherwise: Sampler

    def __call__(self, name, dist, eta):
        return self.own.get(name, self.otherwise)(name, dist, eta)

    def block(self, block):
        return mixed(_blocks(self.own, block), self.otherwise.block(block))


@sampler
class partly:
    """A sampler of the named sites; others that it would draw are sampled as in ``_part``."""

    sampler: Sampler
    own: Mapping[str, Sampler]
    names: tuple[str, ...] = field(metadata={"static": True})

    def __call__(self, name, dist, eta):
        site = self.sampler(name, dist, eta)
        if name in self.names or not site.drawn:
            return site
        return self.own.get(name, frozen(self.sampler))(name, dist, eta)

    def block(self, block):
        names = tuple(block.inside(dict.fromkeys(self.names)))
        return partly(self.sampler.block(block), _blocks(self.own, block), names)


def _blocks(samplers: Mapping[str, Sampler], block: Block) -> dict[str, Sampler]:
    return {name: each.block(block) for name, each in block.inside(samplers).items()}


def _named(sites: tuple[Site, ...], names: Collection[str]) -> tuple[Site, ...]:
    return tuple(site for site in sites if site.name in names)


def _require(who: str, names: Collection[str], sites: tuple[Site, ...]) -> None:
    there = [site.name for site in sites]
    for name in names:
        if name not in there:
            raise FsbError(f"{who}: no site {name!r}; the model has {', '.join(there) or 'none'}")
