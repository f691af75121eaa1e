"""Attaches gradient estimates to the losses, for estimators that use whole runs.

Such an estimator computes one array ``g`` per site, an estimate of the derivative of each example's
expected loss with respect to that site's ``eta``. ``attach`` returns the losses unchanged and makes
``g`` their derivative in ``eta``; everything upstream of the site is ordinary backpropagation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp

from fsb.estimators._turns import each_turn, values_until
from fsb.runtime.random import split
from fsb.sites import (
    Sampler,
    Site,
    ancestral,
    frozen,
    given,
    serve_all,
    serve_batch,
)
from fsb.types import Array, Aux, Estimator, Eta, Run

LayerEstimate = Callable[[Site, Callable[[Array], Array], Array], Array]


@jax.custom_vjp
def attach(losses: Array, eta: Eta, g: Eta) -> Array:
    """Returns the losses [B], with g [B, D...] as the derivative of losses[b] in eta[b].

    ``eta`` may be a tuple of arrays; ``g`` is then a tuple of the same shapes. If all examples
    share one eta [1, D...], g[b] is the derivative of losses[b] in it.

    >>> import jax, jax.numpy as jnp
    >>> f = lambda eta: attach(jnp.array([5.0]), eta, jnp.array([[2.0, 3.0]])).sum()
    >>> [v.tolist() for v in jax.value_and_grad(f)(jnp.zeros((1, 2)))]
    [5.0, [[2.0, 3.0]]]
    """
    return losses


def _forward(losses, eta, g):
    return losses, (g, jax.tree.map(lambda x: jnp.zeros((0, *x.shape), x.dtype), eta))


def _backward(residual, cotangent):
    def weigh(like, g):
        weight = cotangent.reshape(cotangent.shape + (1,) * (g.ndim - 1))
        shared = like.shape[1] != g.shape[0]
        total = (weight * g).sum(0, keepdims=True) if shared else weight * g
        return total.astype(like.dtype)

    g, like = residual
    return cotangent, jax.tree.map(weigh, like, g), jax.tree.map(jnp.zeros_like, g)


attach.defvjp(_forward, _backward)


def attach_all(losses: Array, sites: Iterable[Site], estimates: Iterable[Eta]) -> Array:
    """Applies ``attach`` to every site of a run, with the gradient of the estimates stopped."""
    for site, g in zip(sites, estimates, strict=True):
        losses = attach(losses, site.eta, jax.lax.stop_gradient(g))
    return losses


def score(site: Site) -> Eta:
    """d log p(z) / d eta of every unit, shaped like eta, with its gradient stopped."""

    def log_prob(eta):
        return site.dist.log_prob(eta, jax.lax.stop_gradient(site.z)).sum()

    return jax.lax.stop_gradient(jax.grad(log_prob)(site.eta))


def weigh(signal: Array, g: Eta) -> Eta:
    """Multiplies g [B, D...] by one number per example, [B], or per example and turn, [B, T...]."""
    lead = signal.ndim
    return jax.tree.map(lambda x: signal.reshape(signal.shape + (1,) * (x.ndim - lead)) * x, g)


def one_run(
    name: str, run: Run, key: Array, shared: bool = False
) -> tuple[Array, tuple[Site, ...]]:
    """A plain run, its sites constant to differentiation; checks that they fit the losses."""
    losses, sites = run(frozen(ancestral(key)))
    serve_batch(name, losses, sites, shared)
    return losses, sites


def several_runs(name: str, run: Run, key: Array, samples: int) -> tuple[Array, tuple[Site, ...]]:
    """Independent runs: losses [n, B] and sites, whose arrays have a leading axis [n]."""
    one = lambda key: one_run(name, run, key, shared=True)
    return jax.vmap(one)(split(key, samples))


def attach_scores(losses: Array, sites: tuple[Site, ...], signals: Iterable[Array]) -> Array:
    """Attaches a signal, [B] or [B, T...], times the score to each site; returns the losses."""
    estimates = [weigh(signal, score(site)) for signal, site in zip(signals, sites, strict=True)]
    return attach_all(losses, sites, estimates)


def mean_of_others(x: Array) -> Array:
    """The mean of all other entries along the first axis, for each entry."""
    return (x.sum(0, keepdims=True) - x) / (len(x) - 1)


def branch(
    run: Run, sites: tuple[Site, ...], layer: int, turn: Array | None, z: Array, otherwise: Sampler
) -> Array:
    """Losses [B] of a run with site ``layer`` set to z, the sites above held and those below
    resampled.

    In a scan, z is set at one turn, counted over all scans around the site; the turns before it are
    held, and those after it resampled. With ``ancestral(key)`` and the key of the run, the sites
    below are resampled with its noise. The gradient of the losses is stopped.
    """
    values, until = values_until(sites, layer, turn, jax.lax.stop_gradient(z))
    return jax.lax.stop_gradient(run(given(values, otherwise, until))[0])


def layerwise(
    name: str,
    estimate: LayerEstimate,
    *families: type,
    shared: bool = True,
) -> Estimator:
    """Builds an estimator from one run and, at each layer, an estimate from branches of it.

    In a scan, every turn of a site is a layer of its own.

    Args:
      name: the estimator's name, for error messages.
      estimate: ``estimate(site, change, key) -> g``, where ``change(z)`` is the change [B] of the
        losses when the site is set to z and the sites below are resampled with the noise of the
        run; the key is for further noise.
      families: the distributions that it supports.
      shared: whether it supports a site that all examples share.
    """

    def init(key, sites):
        serve_all(name, sites, *families)
        return (), ()

    def surrogate(run, control, state, key):
        losses, sites = run(ancestral(key))
        serve_batch(name, losses, sites, shared)
        estimates = estimates_of_layers(run, losses, sites, key, estimate)
        return attach_all(losses, sites, estimates), Aux(0.0, state, {})

    return Estimator(init, surrogate)


def estimates_of_layers(
    run: Run, losses: Array, sites: tuple[Site, ...], key: Array, estimate: LayerEstimate
) -> list[Array]:
    """The estimate at every site of a run with this key: see ``layerwise``."""
    below = ancestral(key)

    def at_layer(layer, site):
        def at_turn(site, turn, key):
            change = lambda z: branch(run, sites, layer, turn, z, below) - losses
            return estimate(site, change, key)

        return each_turn(site, key, at_turn)

    return [at_layer(*pair) for pair in enumerate(sites)]
