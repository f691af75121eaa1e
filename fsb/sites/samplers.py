"""Samplers: what happens at the sites of a run.

A sampler is called as ``sampler(name, dist, eta) -> Site``. It is a pytree, so that a scan can take
one for each of its turns: ``sampler.block(block)`` is the same sampler with the repetitions of the
block as the first axis of every array.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, dataclass_transform, no_type_check, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from fsb.sites.site import Block, Site, site_key
from fsb.types import Array, Distribution, Eta, PRNGKey, Relaxable

T = TypeVar("T")


@runtime_checkable
class Sampler(Protocol):
    """Gives every site its value."""

    def __call__(self, name: str, dist: Distribution, eta: Eta) -> Site: ...

    def block(self, block: Block) -> Sampler: ...


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def sampler(cls: type[T]) -> type[T]:
    """A dataclass that is a pytree; its fields are arrays, samplers and dictionaries of them."""
    # Not checked at run time: the fields hold whatever JAX puts in place of arrays.
    return jax.tree_util.register_dataclass(no_type_check(dataclass(frozen=True)(cls)))


@sampler
class ancestral:
    """Samples every site from its distribution."""

    key: PRNGKey

    def __call__(self, name, dist, eta):
        noise = dist.noise(site_key(self.key, name), eta)
        z = dist.from_noise(noise, eta)
        return Site(name, dist, eta, z, z, drawn=True, noise=noise)

    def block(self, block):
        return ancestral(block.keys(self.key))


@sampler
class frozen:
    """Stops the gradient of every sampled value, even if the distribution is differentiable."""

    sampler: Sampler

    def __call__(self, name, dist, eta):
        site = self.sampler(name, dist, eta)
        return replace(site, z=jax.lax.stop_gradient(site.z), hard=jax.lax.stop_gradient(site.hard))

    def block(self, block):
        return frozen(self.sampler.block(block))


@sampler
class shifted:
    """Adds ``shifts[name]`` to the value of each listed site.

    With shifts of zero, differentiating with respect to them gives derivatives in the values.
    """

    sampler: Sampler
    shifts: Mapping[str, Array]

    def __call__(self, name, dist, eta):
        site = self.sampler(name, dist, eta)
        return replace(site, z=site.z + self.shifts[name]) if name in self.shifts else site

    def block(self, block):
        return shifted(self.sampler.block(block), block.values(self.shifts))


@sampler
class given:
    """Sets every site to its value in ``values``.

    Args:
      values: by the name of the site.
      otherwise: sampler for sites that are not in ``values``; with None they raise a ``KeyError``.
      until: for sites in scans, by name: at which turns the value holds, Boolean [T...]; the others
        are sampled by ``otherwise``. By default it holds at all turns.
    """

    values: Mapping[str, Array]
    otherwise: Sampler | None = None
    until: Mapping[str, Array] = ()  # type: ignore[assignment]

    def __call__(self, name, dist, eta):
        if self.otherwise is not None and name not in self.values:
            return self.otherwise(name, dist, eta)
        z, weight = self.values[name], None
        if name in self.until and self.otherwise is not None:
            other, holds = self.otherwise(name, dist, eta), self.until[name]
            z = jnp.where(holds, z, other.z)
            if other.log_weight is not None:
                weight = jnp.where(holds, 0, other.log_weight)
        return Site(name, dist, eta, z, z, log_weight=weight)

    def block(self, block):
        otherwise = self.otherwise and self.otherwise.block(block)
        until = block.inside(dict(self.until))
        if not block.scan:
            until = jax.tree.map(block.every, until)
        return given(block.values(self.values), otherwise, until)


def replay(values: Mapping[str, Array], otherwise: Sampler | None = None) -> given:
    """Sets every site to its value in ``values``, with the gradient stopped.

    Args:
      otherwise: sampler for sites that are not in ``values``; with None they raise a ``KeyError``.
    """
    return given(jax.lax.stop_gradient(dict(values)), otherwise)


@sampler
class relaxed:
    """Samples the relaxed value of every site, a smooth function of eta.

    Reparameterised distributions are sampled as they are.
    """

    key: PRNGKey
    temperature: Array | float

    def __call__(self, name, dist, eta):
        if dist.reparameterized:
            return ancestral(self.key)(name, dist, eta)
        noise = dist.noise(site_key(self.key, name), eta)
        z = softened(noise, eta, dist, self.temperature)
        return Site(name, dist, eta, z, dist.from_noise(noise, eta))

    def block(self, block):
        return relaxed(block.keys(self.key), block.every(self.temperature))


def softened(
    noise: Float[Array, "*units"],
    eta: Float[Array, "*units"],
    dist: Relaxable,
    temperature: Array | float,
) -> Float[Array, "*units"]:
    """The relaxed value near the draw that this noise makes, [B, D...]; smooth in eta."""
    return dist.soften(dist.perturb(noise, eta), temperature).astype(eta.dtype)


@sampler
class mean:
    """Sets every site to its mean given its parents: a noise-free, mean-field pass."""

    def __call__(self, name, dist, eta):
        z = dist.mean(eta)
        return Site(name, dist, eta, z, z)

    def block(self, block):
        return self
