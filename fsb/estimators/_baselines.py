"""Variance reduction for the learning signal of a score-function estimate.

Such an estimate is signal times score, with one signal per example and site. A ``Reduction`` turns
that signal into one of less variance; ``chain`` applies several in turn. What is subtracted or
divided by at a step never depends on the values drawn at it: running statistics are those of the
steps before, and a baseline sees a site's parameters, not its value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fsb.errors import FsbError
from fsb.sites import Site, site_key
from fsb.types import Array, Aux, PyTree


class Reduction(NamedTuple):
    """A pair of pure functions for one site.

    ``init(key, site) -> (control, state)``;
    ``apply(signal [B], site, control, state) -> (signal [B], objective, state)``, where the
    objective is a scalar for the control to minimise.
    """

    init: Callable[[Array, Site], tuple[PyTree, PyTree]]
    apply: Callable[[Array, Site, PyTree, PyTree], tuple[Array, Any, PyTree]]


class Moments(NamedTuple):
    """Running moments of a signal: scalars, all 0 before the first step."""

    steps: Array
    mean: Array
    variance: Array


def running_mean(decay: float) -> Reduction:
    """Centring (C): the signal less the mean of earlier steps. The estimate keeps its mean."""

    def apply(signal, site, control, state):
        return signal - state.mean, 0.0, follow(state, signal, decay)

    return Reduction(no_moments, apply)


def running_scale(decay: float) -> Reduction:
    """Normalisation (VN): the signal over max(1, standard deviation of earlier steps).

    This one scales the estimate's mean as well, by a positive number that is known at each step and
    is one for all examples and units of the site.
    """

    def apply(signal, site, control, state):
        scale = jnp.maximum(1, jnp.sqrt(state.variance))
        return signal / scale, 0.0, follow(state, signal, decay)

    return Reduction(no_moments, apply)


def network(hidden: int) -> Reduction:
    """Input-dependent baseline (IDB): the signal less what a network predicts from the site's eta.

    One layer of ``hidden`` tanh units on the example's eta, trained by squared error; at first its
    output is 0. The estimate keeps its mean, for eta is known before the site is drawn.
    """

    def init(key, site):
        inputs = jax.eval_shape(features, site.eta).shape[1]
        return new_mlp(site_key(key, site.name), inputs, hidden), ()

    def apply(signal, site, control, state):
        x = jax.lax.stop_gradient(features(site.eta))
        residual = signal - mlp(control, x)
        return residual, (residual**2).mean(), state

    return Reduction(init, apply)


def new_mlp(key: Array, inputs: int, hidden: int) -> PyTree:
    """Weights of an ``mlp`` whose output is 0."""
    zeros = jnp.zeros(hidden, jnp.float32)
    return {
        "in": jax.random.normal(key, (inputs, hidden), jnp.float32) / inputs**0.5,
        "bias": zeros,
        "out": zeros,
        "offset": jnp.float32(0),
    }


def mlp(weights: PyTree, x: Array) -> Array:
    """One hidden tanh layer on x [B, inputs], one output an example, [B]."""
    h = jnp.tanh(x @ weights["in"] + weights["bias"][None])
    return h @ weights["out"] + weights["offset"]


def chain(*parts: Reduction) -> Reduction:
    """The reductions in turn, each on the signal that the one before leaves."""

    def init(key, site):
        keys = jax.random.split(key, len(parts) + 1)
        pairs = [part.init(k, site) for part, k in zip(parts, keys, strict=False)]
        return tuple(c for c, _ in pairs), tuple(s for _, s in pairs)

    def apply(signal, site, control, state):
        objective, after = jnp.float32(0), []
        for part, c, s in zip(parts, control, state, strict=True):
            signal, term, s = part.apply(signal, site, c, s)
            objective = objective + term
            after.append(s)
        return signal, objective, tuple(after)

    return Reduction(init, apply)


def reduction(
    name: str, centering: bool, normalization: bool, baseline: bool, hidden: int, decay: float
) -> Reduction:
    """C, IDB and VN in this order, those that are wanted; ``name`` is the estimator's."""
    if hidden < 1:
        raise FsbError(f"{name}: hidden={hidden}: it must be at least 1")
    if not 0 <= decay < 1:
        raise FsbError(f"{name}: decay={decay}: it must be at least 0 and below 1")
    parts = [running_mean(decay)] * centering
    parts += [network(hidden)] * baseline
    parts += [running_scale(decay)] * normalization
    return chain(*parts)


def init_all(part: Reduction, key: Array, sites: tuple[Site, ...]) -> tuple[PyTree, PyTree]:
    """Control and state of a reduction for every site, by the site's name."""
    pairs = {site.name: part.init(key, site) for site in sites}
    return {n: c for n, (c, _) in pairs.items()}, {n: s for n, (_, s) in pairs.items()}


def reduce_all(
    part: Reduction, signals: list[Array], sites: tuple[Site, ...], control: PyTree, state: PyTree
) -> tuple[list[Array], Aux]:
    """Each site's signal after the reduction; ``Aux`` has the objective and the next state."""
    objective, reduced, after = jnp.float32(0), [], {}
    for signal, site in zip(signals, sites, strict=True):
        signal = signal.astype(jnp.promote_types(signal.dtype, jnp.float32))
        name = site.name
        signal, term, after[name] = part.apply(signal, site, control[name], state[name])
        reduced.append(signal)
        objective = objective + term
    return reduced, Aux(objective, after, {})


def no_moments(key: Array, site: Site) -> tuple[tuple, Moments]:
    return (), Moments(jnp.int32(0), jnp.float32(0), jnp.float32(0))


def follow(moments: Moments, signal: Array, decay: float) -> Moments:
    """Exponentially weighted mean and variance, after one more batch.

    The first steps are averaged plainly, so that no number of them remembers the zeros.
    """
    rate = jnp.maximum(1 - decay, 1 / (moments.steps + 1))
    change = signal.mean() - moments.mean
    mean = moments.mean + rate * change
    variance = (1 - rate) * (moments.variance + rate * change**2) + rate * signal.var()
    return Moments(moments.steps + 1, mean.astype(jnp.float32), variance.astype(jnp.float32))


def features(eta: PyTree) -> Array:
    """All of a site's parameters, [B, inputs] float32; clipped, for a logit may be infinite."""
    leaves = [jnp.asarray(x, jnp.float32).reshape(x.shape[0], -1) for x in jax.tree.leaves(eta)]
    return jnp.clip(jnp.concatenate(leaves, -1), -30, 30)
