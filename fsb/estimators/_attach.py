"""Attaching an estimate to the losses, for estimators that work on whole runs.

An estimator of this kind computes one array ``g`` per site, an estimate of the derivative of each
example's expected loss in that site's ``eta``. ``attach`` leaves the losses as they are and makes
``g`` their derivative in ``eta``; upstream of the site all is ordinary backpropagation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import jax
import jax.numpy as jnp

from fsb.sites import Sampler, Site, ancestral, frozen, replay, serve_all
from fsb.types import Array, Aux, Estimator, Eta, Run


@jax.custom_vjp
def attach(losses: Array, eta: Eta, g: Eta) -> Array:
    """The losses [B], with g [B, D...] as the derivative of losses[b] in eta[b].

    ``eta`` may be a tuple of arrays, and ``g`` then one of the same shapes.

    >>> import jax, jax.numpy as jnp
    >>> f = lambda eta: attach(jnp.array([5.0]), eta, jnp.array([[2.0, 3.0]])).sum()
    >>> [v.tolist() for v in jax.value_and_grad(f)(jnp.zeros((1, 2)))]
    [5.0, [[2.0, 3.0]]]
    """
    return losses


def _forward(losses, eta, g):
    return losses, (g, jax.tree.map(lambda x: jnp.zeros((0,), x.dtype), eta))


def _backward(residual, cotangent):
    def weigh(like, g):
        weight = cotangent.reshape(cotangent.shape + (1,) * (g.ndim - 1))
        return (weight * g).astype(like.dtype)

    g, like = residual
    return cotangent, jax.tree.map(weigh, like, g), jax.tree.map(jnp.zeros_like, g)


attach.defvjp(_forward, _backward)


def attach_all(losses: Array, sites: Iterable[Site], estimates: Iterable[Eta]) -> Array:
    """``attach`` for every site of a run; the estimates are constants to differentiation."""
    for site, g in zip(sites, estimates, strict=True):
        losses = attach(losses, site.eta, jax.lax.stop_gradient(g))
    return losses


def score(site: Site) -> Eta:
    """d log p(z) / d eta, unit by unit and constant to differentiation, shaped like eta."""

    def log_prob(eta):
        return site.dist.log_prob(eta, jax.lax.stop_gradient(site.z)).sum()

    return jax.lax.stop_gradient(jax.grad(log_prob)(site.eta))


def weigh(signal: Array, g: Eta) -> Eta:
    """One number per example [B] times g [B, D...]."""
    return jax.tree.map(lambda x: signal.reshape(signal.shape + (1,) * (x.ndim - 1)) * x, g)


def several_runs(run: Run, key: Array, samples: int) -> tuple[Array, tuple[Site, ...]]:
    """Plain runs side by side: losses [n, B] and sites, all arrays of which lead with [n]."""
    return jax.vmap(lambda k: run(frozen(ancestral(k))))(jax.random.split(key, samples))


def attach_scores(losses: Array, sites: tuple[Site, ...], signal: Array) -> Array:
    """The losses [B], with signal [B] times the score as the derivative in every site's eta."""
    return attach_all(losses, sites, [weigh(signal, score(site)) for site in sites])


def mean_of_others(x: Array) -> Array:
    """Over the first axis, for each entry the mean of all but itself."""
    return (x.sum(0, keepdims=True) - x) / (len(x) - 1)


def branch(run: Run, sites: tuple[Site, ...], layer: int, z: Array, otherwise: Sampler) -> Array:
    """Losses [B] of the run with site ``layer`` at z: what is above it held, what is below redrawn.

    Given ``ancestral(key)`` with the key of the run itself, the redrawn sites see its noise.
    The losses are constants to differentiation.
    """
    values = {site.name: site.z for site in sites[:layer]} | {sites[layer].name: z}
    return jax.lax.stop_gradient(run(replay(values, otherwise))[0])


def layerwise(
    name: str,
    estimate: Callable[[Site, Callable[[Array], Array], Array], Array],
    *families: type,
) -> Estimator:
    """One plain run, and at each layer an estimate from branches off it.

    Args:
      name: of the estimator, for error messages.
      estimate: ``estimate(site, change, key) -> g``, where ``change(z)`` is the change [B] of the
        losses when the site takes the value z, all below it redrawn with the noise of the run.
      families: of distributions that it serves.
    """

    def init(key, sites):
        serve_all(name, sites, *families)
        return (), ()

    def surrogate(run, control, state, key):
        losses, sites = run(ancestral(key))

        def change(layer, z):
            return branch(run, sites, layer, z, ancestral(key)) - losses

        estimates = [estimate(site, partial(change, i), key) for i, site in enumerate(sites)]
        return attach_all(losses, sites, estimates), Aux(0.0, state, {})

    return Estimator(init, surrogate)
