"""Sites and samplers: how a model draws its stochastic values.

A *sampler* is a function ``sampler(name, dist, eta) -> Site``. ``bind(loss, params)`` turns a loss
into a *run*: ``run(sampler) -> (losses [B], sites)``, with the sites in ancestral order.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar, no_type_check

import jax
from jaxtyping import Float

from fsb.constraints import checked_losses, checked_site
from fsb.errors import FsbError
from fsb.runtime.trees import arrays
from fsb.types import Array, Distribution, Eta, Loss, PRNGKey, PyTree, Relaxable, Run, Sample

T = TypeVar("T")


@no_type_check  # at run time: its fields hold whatever JAX puts in place of arrays
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Site:
    """One stochastic layer after sampling.

    name, dist: static.
    eta: parameters of the distribution, [B, D...].
    z: the value passed to the model, [B, D...]; may be relaxed or noisy.
    hard: a sample from the distribution itself; the same as ``z`` unless that is relaxed or noisy.
    drawn: static; whether ``z`` was sampled from the distribution, not given or relaxed.
    """

    name: str = field(metadata={"static": True})
    dist: Distribution = field(metadata={"static": True})
    eta: Eta
    z: Array
    hard: Array
    drawn: bool = field(default=False, metadata={"static": True})


Sampler = Callable[[str, Distribution, Eta], Site]


def site_key(key: PRNGKey, name: str) -> PRNGKey:
    """The key of a site, folded with its name so that it does not depend on other sites."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def ancestral(key: PRNGKey) -> Sampler:
    """Samples every site from its distribution."""

    def sampler(name, dist, eta):
        z = dist.sample(site_key(key, name), eta)
        return Site(name, dist, eta, z, z, drawn=True)

    return sampler


def frozen(sampler: Sampler) -> Sampler:
    """Stops the gradient of every sampled value, even if the distribution is differentiable."""

    def constant(name, dist, eta):
        site = sampler(name, dist, eta)
        return replace(site, z=jax.lax.stop_gradient(site.z), hard=jax.lax.stop_gradient(site.hard))

    return constant


def shifted(sampler: Sampler, shifts: Mapping[str, Array]) -> Sampler:
    """Adds ``shifts[name]`` to the value of each listed site.

    With shifts of zero, differentiating with respect to them gives derivatives in the values.
    """

    def moved(name, dist, eta):
        site = sampler(name, dist, eta)
        return replace(site, z=site.z + shifts[name]) if name in shifts else site

    return moved


def replay(values: Mapping[str, Array], otherwise: Sampler | None = None) -> Sampler:
    """Sets every site to its value in ``values``, with the gradient stopped.

    Args:
      otherwise: sampler for sites that are not in ``values``; with None they raise a ``KeyError``.
    """

    def sampler(name, dist, eta):
        if otherwise is not None and name not in values:
            return otherwise(name, dist, eta)
        z = jax.lax.stop_gradient(values[name])
        return Site(name, dist, eta, z, z)

    return sampler


def relaxed(key: PRNGKey, temperature: Array | float) -> Sampler:
    """Samples the relaxed value of every site, a smooth function of eta.

    Reparameterised distributions are sampled as they are.
    """

    def sampler(name, dist, eta):
        if dist.reparameterized:
            return ancestral(key)(name, dist, eta)
        noise = dist.noise(site_key(key, name), eta)
        z = softened(noise, eta, dist, temperature)
        return Site(name, dist, eta, z, dist.from_noise(noise, eta))

    return sampler


def softened(
    noise: Float[Array, "*units"],
    eta: Float[Array, "*units"],
    dist: Relaxable,
    temperature: Array | float,
) -> Float[Array, "*units"]:
    """The relaxed value near the draw that this noise makes, [B, D...]; smooth in eta."""
    return dist.soften(dist.perturb(noise, eta), temperature).astype(eta.dtype)


def mean() -> Sampler:
    """Sets every site to its mean given its parents: a noise-free, mean-field pass."""

    def sampler(name, dist, eta):
        z = dist.mean(eta)
        return Site(name, dist, eta, z, z)

    return sampler


def collect_sites(model: Callable[[Sample], T], sampler: Sampler) -> tuple[T, tuple[Site, ...]]:
    """Runs ``model(sample)`` and returns its result with the sites it sampled, in ancestral order.

    Raises:
      FsbError: if two sites have the same name, or names that would share their noise.
    """
    sites: list[Site] = []

    def sample(name: str, dist: Distribution, eta: Eta) -> Array:
        if any(site.name == name for site in sites):
            raise FsbError(f"site {name!r} was sampled twice in one run; give each its own name")
        for site in sites:
            if zlib.crc32(site.name.encode()) == zlib.crc32(name.encode()):
                raise FsbError(
                    f"sites {site.name!r} and {name!r} would share their noise, as the checksums "
                    "of their names agree; rename one"
                )
        sites.append(sampler(name, dist, checked_site(name, dist, eta)))
        return sites[-1].z

    return model(sample), tuple(sites)


def bind(loss: Loss, params: PyTree) -> Run:
    """Returns the run of ``loss`` at ``params``.

    Raises:
      FsbError: when the run is called, if two sites have the same name or the losses are not [B].

    >>> import jax, jax.numpy as jnp
    >>> from fsb.distributions import Bernoulli
    >>> def loss(params, sample):
    ...     return sample("b", Bernoulli(), params).sum(-1)
    >>> losses, sites = bind(loss, jnp.full((2, 3), 1000.0))(ancestral(jax.random.key(0)))
    >>> losses.tolist(), sites[0].name, sites[0].z.shape
    ([3.0, 3.0], 'b', (2, 3))
    """

    def run(sampler: Sampler) -> tuple[Array, tuple[Site, ...]]:
        losses, sites = collect_sites(lambda sample: loss(params, sample), sampler)
        return checked_losses(losses), sites

    return run


def trace_sites(loss: Loss, params: PyTree) -> tuple[Site, ...]:
    """The sites of a loss, with shapes in place of arrays; nothing is computed."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    leaves, rebuild = arrays(params)
    return jax.eval_shape(lambda p, k: bind(loss, rebuild(p))(ancestral(k))[1], leaves, key)


def serve(name: str, dist: Distribution, *families: type) -> None:
    """Checks that an estimator supports a distribution.

    Raises:
      FsbError: if ``dist`` is an instance of none of ``families``.

    >>> from fsb.distributions import Bernoulli, Categorical, Normal
    >>> serve("st", Normal(), Bernoulli, Categorical)
    Traceback (most recent call last):
    fsb.errors.FsbError: st supports Bernoulli and Categorical sites, not Normal
    """
    if not isinstance(dist, families):
        names = [family.__name__ for family in families]
        allowed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        raise FsbError(f"{name} supports {allowed} sites, not {type(dist).__name__}")


def serve_all(name: str, sites: tuple[Site, ...], *families: type) -> None:
    """Applies ``serve`` to every site of a run; the error names the site."""
    for site in sites:
        try:
            serve(name, site.dist, *families)
        except FsbError as error:
            raise FsbError(f"site {site.name!r}: {error}") from None


def per_example(per_unit: Float[Array, "batch *units"]) -> Float[Array, " batch"]:
    """Sums [B, D...] over all axes but the first."""
    return per_unit.reshape(per_unit.shape[0], -1).sum(-1)
