"""One stochastic layer after sampling, and the keys of its noise."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Float

from fsb.runtime.random import fold_in, split
from fsb.types import Array, Distribution, Eta, PRNGKey, PyTree


@no_type_check  # at run time: its fields hold whatever JAX puts in place of arrays
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Site:
    """One stochastic layer after sampling.

    A site inside ``fsb.scan`` has one axis for each scan behind the batch axis: [B, T, D...].

    name, dist: static.
    eta: parameters of the distribution, [B, D...].
    z: the value passed to the model, [B, D...]; may be relaxed or noisy.
    hard: a sample from the distribution itself; the same as ``z`` unless that is relaxed or noisy.
    drawn: static; whether ``z`` was sampled from the distribution, not given or relaxed.
    noise: the noise that gave ``z``, if it was drawn; else None.
    scans: static; the names of the scans around the site, from the outermost to the innermost.
    log_weight: log p(z) if the losses depend on eta through the probability of ``z``: then ``bind``
      multiplies them by p(z) / stop_gradient(p(z)), which is 1, with its derivatives.
    downstream: the part of the losses that may depend on ``z``, [B, T...]; None for all of them.
    context: what the loss hands to baselines, [B, numbers] (``Recorder.context``), if anything.
    """

    name: str = field(metadata={"static": True})
    dist: Distribution = field(metadata={"static": True})
    eta: Eta
    z: Array
    hard: Array
    drawn: bool = field(default=False, metadata={"static": True})
    noise: PyTree = None
    scans: tuple[str, ...] = field(default=(), metadata={"static": True})
    log_weight: Array | None = None
    downstream: Array | None = None
    context: Array | None = None

    @property
    def turns(self) -> tuple[int, ...]:
        """The lengths of the scans around the site."""
        return self.z.shape[1 : 1 + len(self.scans)]


@dataclass(frozen=True)
class Block:
    """Where a transformation puts the sites that it repeats.

    name: of the block; a site ``z`` in it is ``name/z`` outside.
    length: how often the block is repeated.
    axis: the axis of a site's arrays, seen from outside, that counts the repetitions.
    scan: whether the repetitions are turns of a scan, and not examples.
    """

    name: str
    length: int
    axis: int
    scan: bool

    def keys(self, key: PRNGKey) -> Array:
        """One key for each repetition."""
        return split(site_key(key, self.name), self.length)

    def inside(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The entries of the sites in the block, by the names that they have there."""
        prefix = f"{self.name}/"
        return {n[len(prefix) :]: v for n, v in values.items() if n.startswith(prefix)}

    def values(self, values: Mapping[str, PyTree]) -> dict[str, PyTree]:
        """Arrays of sites in the block, with the repetitions as their first axis."""
        first = lambda x: jnp.moveaxis(x, self.axis, 0)
        return jax.tree.map(first, self.inside(values))

    def every(self, x: Any) -> Array:
        """The same number at every repetition."""
        x = jnp.asarray(x)
        return jnp.broadcast_to(x[None], (self.length, *x.shape))

    def outside(self, site: Site) -> Site:
        """A site of all repetitions, stacked along the first axis, as it is seen from outside."""
        site = jax.tree.map(lambda x: jnp.moveaxis(x, 0, self.axis), site)
        scans = (self.name,) * self.scan + tuple(f"{self.name}/{name}" for name in site.scans)
        return replace(site, name=f"{self.name}/{site.name}", scans=scans)


def site_key(key: PRNGKey, name: str) -> PRNGKey:
    """The key of a site, folded with its name so that it does not depend on other sites."""
    return fold_in(key, zlib.crc32(name.encode()))


def per_example(per_unit: Float[Array, "batch *units"]) -> Float[Array, " batch"]:
    """Sums [B, D...] over all axes but the first."""
    return per_unit.reshape(per_unit.shape[0], -1).sum(-1)


def per_turn(per_unit: Array, site: Site) -> Array:
    """Sums [B, T..., D...] over the units alone: [B, T...]."""
    lead = per_unit.shape[: 1 + len(site.scans)]
    return per_unit.reshape(*lead, -1).sum(-1)
