"""Variance reduction for the learning signal of score-function estimators.

Such an estimate is signal times score, with one signal per example and site. A ``Reduction`` maps
the signal to one with less variance; ``chain`` composes several. What a step subtracts or divides
by never depends on the values sampled in it: running statistics come from earlier steps, and a
baseline depends on a site's parameters and on what the loss hands over, not on its value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fsb.constraints import known
from fsb.errors import FsbError
from fsb.sites import Site, site_key
from fsb.types import Array, Aux, PyTree


class Reduction(NamedTuple):
    """A pair of pure functions for one site.

    ``init(key, site) -> (control, state)``;
    ``apply(signal [B], site, control, state) -> (signal [B], objective, state)``, where the
    objective is a scalar that the control minimises. In scans the signal is [B, T...].
    """

    init: Callable[[Array, Site], tuple[PyTree, PyTree]]
    apply: Callable[[Array, Site, PyTree, PyTree], tuple[Array, Any, PyTree]]


class RunningMoments(NamedTuple):
    """Running moments of a signal, one for each turn of a scan: all 0 before the first step."""

    steps: Array
    mean: Array
    variance: Array


def running_mean(decay: float) -> Reduction:
    """Centring (C): subtracts the mean of earlier steps. Does not change the expectation."""

    def apply(signal, site, control, state):
        return signal - state.mean[None], 0.0, update_moments(state, signal, decay)

    return Reduction(init_moments, apply)


def running_scale(decay: float) -> Reduction:
    """Variance normalisation (VN): divides by max(1, standard deviation of earlier steps).

    Also scales the expectation of the estimate, by a positive factor that is known before the step
    and shared by all examples and units of the site.
    """

    def apply(signal, site, control, state):
        scale = jnp.maximum(1, jnp.sqrt(state.variance))
        return signal / scale[None], 0.0, update_moments(state, signal, decay)

    return Reduction(init_moments, apply)


def network(hidden: int, context: bool = False) -> Reduction:
    """Input-dependent baseline (IDB): subtracts the output of a network of the site's eta.

    The network has one layer of ``hidden`` tanh units, is trained by squared error and outputs 0 at
    first. With ``context`` it sees what the loss hands over as well (``Recorder.context``). Does
    not change the expectation, as both are known before the site is sampled.
    """

    def init(key, site):
        inputs = jax.eval_shape(lambda site: seen(site, context), site).shape[-1]
        return new_mlp(site_key(key, site.name), inputs, hidden), ()

    def apply(signal, site, control, state):
        x = jax.lax.stop_gradient(seen(site, context))
        value = mlp(control, x.reshape(-1, x.shape[-1])).reshape(x.shape[:-1])
        residual = signal - value
        return residual, (residual**2).mean(), state

    return Reduction(init, apply)


def new_mlp(key: Array, inputs: int, hidden: int) -> PyTree:
    """Initial weights of an ``mlp``; its output is 0."""
    zeros = jnp.zeros(hidden, jnp.float32)
    return {
        "in": jax.random.normal(key, (inputs, hidden), jnp.float32) / inputs**0.5,
        "bias": zeros,
        "out": zeros,
        "offset": jnp.float32(0),
    }


def mlp(weights: PyTree, x: Array) -> Array:
    """One hidden tanh layer: x [B, inputs] -> one output per example, [B]."""
    h = jnp.tanh(x @ weights["in"] + weights["bias"][None])
    return h @ weights["out"] + weights["offset"]


def chain(*parts: Reduction) -> Reduction:
    """Composes reductions, each applied to the signal left by the previous one."""

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
    name: str,
    centering: bool,
    normalization: bool,
    baseline: bool,
    hidden: int,
    decay: float,
    context: bool,
) -> Reduction:
    """Chains C, IDB and VN, in this order, as far as they are enabled.

    Args:
      name: the estimator's name, for error messages.

    Raises:
      FsbError: if ``hidden`` is less than 1, ``decay`` is outside [0, 1), or there is a context
        without a baseline that sees it.
    """
    if hidden < 1:
        raise FsbError(f"{name}: hidden={hidden}: it must be at least 1")
    if known(decay) and not 0 <= decay < 1:
        raise FsbError(f"{name}: decay={decay}: it must be at least 0 and below 1")
    if context and not baseline:
        raise FsbError(f"{name}: context=True: it needs baseline=True, which sees the context")
    parts = [running_mean(decay)] * centering
    parts += [network(hidden, context)] * baseline
    parts += [running_scale(decay)] * normalization
    return chain(*parts)


def init_all(part: Reduction, key: Array, sites: tuple[Site, ...]) -> tuple[PyTree, PyTree]:
    """Control and state of a reduction for every site, keyed by the site's name."""
    pairs = {site.name: part.init(key, site) for site in sites}
    return {n: c for n, (c, _) in pairs.items()}, {n: s for n, (_, s) in pairs.items()}


def reduce_all(
    part: Reduction, signals: list[Array], sites: tuple[Site, ...], control: PyTree, state: PyTree
) -> tuple[list[Array], Aux]:
    """Reduces the signal of every site; ``Aux`` has the objective and the next state."""
    objective, reduced, after = jnp.float32(0), [], {}
    for signal, site in zip(signals, sites, strict=True):
        signal = signal.astype(jnp.promote_types(signal.dtype, jnp.float32))
        name = site.name
        signal, term, after[name] = part.apply(signal, site, control[name], state[name])
        reduced.append(signal)
        objective = objective + term
    return reduced, Aux(objective, after, {})


def init_moments(key: Array, site: Site) -> tuple[tuple, RunningMoments]:
    zeros = jnp.zeros(site.turns, jnp.float32)
    return (), RunningMoments(jnp.int32(0), zeros, zeros)


def update_moments(moments: RunningMoments, signal: Array, decay: float) -> RunningMoments:
    """Updates the exponentially weighted mean and variance with one batch.

    The first steps use a plain average, so the zero initialisation leaves no trace.
    """
    rate = jnp.maximum(1 - decay, 1 / (moments.steps + 1))
    change = signal.mean(0) - moments.mean
    mean = moments.mean + rate * change
    variance = (1 - rate) * (moments.variance + rate * change**2) + rate * signal.var(0)
    return RunningMoments(moments.steps + 1, mean.astype(jnp.float32), variance.astype(jnp.float32))


def seen(site: Site, context: bool) -> Array:
    """What a baseline sees of a site, [B, T..., inputs]: its parameters, and the context if asked.

    Raises:
      FsbError: if the loss hands over none.
    """
    own = features(site.eta, site.turns)
    if not context:
        return own
    if site.context is None:
        raise FsbError(
            "context=True: the loss hands nothing to the baseline; call sample.context(x) in it"
        )
    rows = len(site.context)
    given = features(site.context).reshape(rows, *(1 for _ in site.turns), -1)
    wide = lambda x: jnp.broadcast_to(x, (rows, *site.turns, x.shape[-1]))
    return jnp.concatenate([wide(own), wide(given)], -1)


def features(eta: PyTree, turns: tuple[int, ...] = ()) -> Array:
    """All parameters of a site, [B, T..., inputs] float32; clipped, as logits may be infinite."""
    flat = lambda x: jnp.asarray(x, jnp.float32).reshape(*x.shape[:1], *turns, -1)
    leaves = [flat(x) for x in jax.tree.leaves(eta)]
    return jnp.clip(jnp.concatenate(leaves, -1), -30, 30)
