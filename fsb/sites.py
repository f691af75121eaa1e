"""Sites and samplers: how a model draws its values, and what a draw leaves behind.

A *sampler* is a function ``sampler(name, dist, eta) -> Site``. ``bind(loss, params)`` turns a loss
into a *run*: ``run(sampler) -> (losses [B], sites)``, with the sites in ancestral order.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import jax

from fsb.errors import FsbError
from fsb.types import Array, Distribution, Eta, Loss, PyTree, Relaxable, Run, Sample

T = TypeVar("T")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Site:
    """One stochastic layer after a draw.

    name, dist: static.
    eta: parameters of the distribution, [B, D...].
    z: the value handed to the model, [B, D...]; may be relaxed or noisy.
    hard: a draw from the distribution itself; ``z`` where that is one already.
    drawn: static; whether ``z`` was just drawn from the distribution (not given, nor relaxed).
    """

    name: str = field(metadata={"static": True})
    dist: Distribution = field(metadata={"static": True})
    eta: Eta
    z: Array
    hard: Array
    drawn: bool = field(default=False, metadata={"static": True})


Sampler = Callable[[str, Distribution, Eta], Site]


def site_key(key: Array, name: str) -> Array:
    """The key of a site: folded by its name, so that no other site can shift its noise."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def ancestral(key: Array) -> Sampler:
    """Draws every site from its distribution: the plain run."""

    def sampler(name, dist, eta):
        z = dist.sample(site_key(key, name), eta)
        return Site(name, dist, eta, z, z, drawn=True)

    return sampler


def frozen(sampler: Sampler) -> Sampler:
    """The same draws as constants to differentiation, whatever the family's own derivative."""

    def constant(name, dist, eta):
        site = sampler(name, dist, eta)
        return replace(site, z=jax.lax.stop_gradient(site.z), hard=jax.lax.stop_gradient(site.hard))

    return constant


def shifted(sampler: Sampler, shifts: Mapping[str, Array]) -> Sampler:
    """Adds the shift listed for a site to its value: at zeros, a handle for derivatives in it."""

    def moved(name, dist, eta):
        site = sampler(name, dist, eta)
        return replace(site, z=site.z + shifts[name]) if name in shifts else site

    return moved


def replay(values: Mapping[str, Array], otherwise: Sampler | None = None) -> Sampler:
    """Gives every site the value listed for it; the values are constants to differentiation.

    Args:
      otherwise: draws the sites that are not listed; None makes a missing one a ``KeyError``.
    """

    def sampler(name, dist, eta):
        if otherwise is not None and name not in values:
            return otherwise(name, dist, eta)
        z = jax.lax.stop_gradient(values[name])
        return Site(name, dist, eta, z, z)

    return sampler


def relaxed(key: Array, temperature: Array | float) -> Sampler:
    """Puts every site at the softened value of its draw; smooth in eta all the way down.

    A reparameterised family is smooth already: its sites are drawn.
    """

    def sampler(name, dist, eta):
        if dist.reparameterized:
            return ancestral(key)(name, dist, eta)
        noise = dist.noise(site_key(key, name), eta)
        z = softened(noise, eta, dist, temperature)
        return Site(name, dist, eta, z, dist.from_noise(noise, eta))

    return sampler


def softened(noise: Array, eta: Array, dist: Relaxable, temperature: Array | float) -> Array:
    """The relaxed value near the draw that this noise makes, [B, D...]; smooth in eta."""
    return dist.soften(dist.perturb(noise, eta), temperature).astype(eta.dtype)


def mean() -> Sampler:
    """Puts every site at its mean given its parents: the mean-field pass, without noise."""

    def sampler(name, dist, eta):
        z = dist.mean(eta)
        return Site(name, dist, eta, z, z)

    return sampler


def record(model: Callable[[Sample], T], sampler: Sampler) -> tuple[T, tuple[Site, ...]]:
    """Runs ``model(sample)``; returns its result and the sites it drew, in ancestral order.

    Raises:
      FsbError: if a site's name comes twice.
    """
    sites: list[Site] = []

    def sample(name: str, dist: Distribution, eta: Eta) -> Array:
        if any(site.name == name for site in sites):
            raise FsbError(f"site {name!r} was sampled twice in one run; give each its own name")
        sites.append(sampler(name, dist, eta))
        return sites[-1].z

    return model(sample), tuple(sites)


def bind(loss: Loss, params: PyTree) -> Run:
    """The run of ``loss`` at ``params``.

    Raises:
      FsbError: from the run, if a site's name comes twice or if the losses are not [B].

    >>> import jax, jax.numpy as jnp
    >>> from fsb.distributions import Bernoulli
    >>> def loss(params, sample):
    ...     return sample("b", Bernoulli(), params).sum(-1)
    >>> losses, sites = bind(loss, jnp.full((2, 3), 1000.0))(ancestral(jax.random.key(0)))
    >>> losses.tolist(), sites[0].name, sites[0].z.shape
    ([3.0, 3.0], 'b', (2, 3))
    """

    def run(sampler: Sampler) -> tuple[Array, tuple[Site, ...]]:
        losses, sites = record(lambda sample: loss(params, sample), sampler)
        shape = jax.numpy.shape(losses)
        if len(shape) != 1:
            raise FsbError(f"a loss must return one value per example, shape [B]; got {shape}")
        return losses, sites

    return run


def trace_sites(loss: Loss, params: PyTree) -> tuple[Site, ...]:
    """The sites of a loss with shapes in place of arrays; nothing is computed."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(lambda p, k: bind(loss, p)(ancestral(k))[1], params, key)


def serve(name: str, dist: Distribution, *families: type) -> None:
    """Says in one line that an estimator does not serve a distribution.

    Raises:
      FsbError: if ``dist`` belongs to none of the families.

    >>> from fsb.distributions import Bernoulli, Categorical, Normal
    >>> serve("st", Normal(), Bernoulli, Categorical)
    Traceback (most recent call last):
    fsb.errors.FsbError: st serves Bernoulli and Categorical sites, not Normal
    """
    if not isinstance(dist, families):
        names = [family.__name__ for family in families]
        allowed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        raise FsbError(f"{name} serves {allowed} sites, not {type(dist).__name__}")


def serve_all(name: str, sites: tuple[Site, ...], *families: type) -> None:
    """``serve`` for every site of a run; the error names the site."""
    for site in sites:
        try:
            serve(name, site.dist, *families)
        except FsbError as error:
            raise FsbError(f"site {site.name!r}: {error}") from None


def per_example(per_unit: Array) -> Array:
    """Sums [B, D...] over all but the examples."""
    return per_unit.reshape(per_unit.shape[0], -1).sum(-1)
