"""Turns of scans: a site [B, T..., D...] as T sites [B, D...], one after the other.

Turns are counted over all scans around a site: with scans of 3 and 4 turns, from 0 to 11.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from fsb.runtime.random import fold_in
from fsb.sites import Site
from fsb.types import Array, Eta

TOGETHER = 32  # turns evaluated side by side


def each_turn(site: Site, key: Array, function: Callable[[Site, Any, Array], Eta]) -> Eta:
    """``function(site, turn, key) -> g`` at every turn; g is shaped like eta.

    Outside of scans the function is called once, with the turn None.
    """
    if not site.scans:
        return function(site, None, key)
    turns = site.turns
    count = math.prod(turns)

    def one(turn):
        return function(at_turn(site, turn), turn, fold_in(key, turn))

    found = jax.lax.map(one, jnp.arange(count), batch_size=min(count, TOGETHER))

    def stacked(x):
        x = jnp.moveaxis(x, 0, 1)
        return x.reshape(x.shape[0], *turns, *x.shape[2:])

    return jax.tree.map(stacked, found)


def at_turn(site: Site, turn: Any) -> Site:
    """The site at one turn, as a site outside of scans."""
    flat = lambda x: _flat(x, site)[:, turn]
    eta, z, hard, noise = jax.tree.map(flat, (site.eta, site.z, site.hard, site.noise))
    return replace(site, eta=eta, z=z, hard=hard, noise=noise, scans=())


def over_turns(signal: Array, site: Site) -> Array:
    """One number per example, [B], at every turn of a site: [B, T...]."""
    lead = signal.reshape(signal.shape + (1,) * len(site.scans))
    return jnp.broadcast_to(lead, signal.shape + site.turns)


def signal_of(losses: Array, site: Site) -> Array:
    """What weighs the score of a site, [B, T...]: the losses, or what is downstream of it."""
    return over_turns(losses, site) if site.downstream is None else site.downstream


def values_until(
    sites: tuple[Site, ...], layer: int, turn: Any, z: Array
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Values of the sites above one turn of a layer and of this turn, z; and at which turns.

    They are the arguments ``values`` and ``until`` of ``fsb.sites.given``. All but z are constant
    to differentiation.
    """
    own = sites[layer]
    sites = tuple(replace(site, z=jax.lax.stop_gradient(site.z)) for site in sites)
    values = {site.name: site.z for site in sites[:layer]} | {own.name: z}
    if not own.scans:
        return values, {}
    values[own.name] = _flat(sites[layer].z, own).at[:, turn].set(z).reshape(own.z.shape)
    until = {}
    for place, site in enumerate(sites):
        depth = _common(site.scans, own.scans)
        if not depth:
            continue
        values.setdefault(site.name, site.z)
        # Both are in the same turn of the scans around both; within it, their order counts.
        now = turn // math.prod(own.turns[depth:])
        count = jnp.arange(math.prod(site.turns[:depth]))
        holds = (count <= now if place <= layer else count < now).reshape(site.turns[:depth])
        rest = site.turns[depth:]
        until[site.name] = jnp.broadcast_to(
            holds.reshape(*holds.shape, *(1 for _ in rest)), site.turns
        )
    return values, until


def _common(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """The number of scans around both."""
    depth = 0
    while depth < min(len(a), len(b)) and a[depth] == b[depth]:
        depth += 1
    return depth


def _flat(x: Array, site: Site) -> Array:
    """[B, T..., D...] with the turns along one axis."""
    return x.reshape(x.shape[0], math.prod(site.turns), *x.shape[1 + len(site.scans) :])
