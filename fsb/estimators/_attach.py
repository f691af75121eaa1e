"""Attaches gradient estimates to the losses, for estimators that use whole runs.

Such an estimator computes one array ``g`` per site, an estimate of the derivative of each example's
expected loss with respect to that site's ``eta``. ``attach`` returns the losses unchanged and makes
``g`` their derivative in ``eta``; everything upstream of the site is ordinary backpropagation.
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
    """Returns the losses [B], with g [B, D...] as the derivative of losses[b] in eta[b].

    ``eta`` may be a tuple of arrays; ``g`` is then a tuple of the same shapes.

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
    """Multiplies g [B, D...] by one number per example, [B]."""
    return jax.tree.map(lambda x: signal.reshape(signal.shape + (1,) * (x.ndim - 1)) * x, g)


def several_runs(run: Run, key: Array, samples: int) -> tuple[Array, tuple[Site, ...]]:
    """Independent runs: losses [n, B] and sites, whose arrays have a leading axis [n]."""
    return jax.vmap(lambda k: run(frozen(ancestral(k))))(jax.random.split(key, samples))


def attach_scores(losses: Array, sites: tuple[Site, ...], signal: Array) -> Array:
    """Attaches signal [B] times the score to every site; returns the losses [B]."""
    return attach_all(losses, sites, [weigh(signal, score(site)) for site in sites])


def mean_of_others(x: Array) -> Array:
    """The mean of all other entries along the first axis, for each entry."""
    return (x.sum(0, keepdims=True) - x) / (len(x) - 1)


def branch(run: Run, sites: tuple[Site, ...], layer: int, z: Array, otherwise: Sampler) -> Array:
    """Losses [B] of a run with site ``layer`` set to z, the sites above held and those below
    resampled.

    With ``ancestral(key)`` and the key of the run, the sites below are resampled with its noise.
    The gradient of the losses is stopped.
    """
    values = {site.name: site.z for site in sites[:layer]} | {sites[layer].name: z}
    return jax.lax.stop_gradient(run(replay(values, otherwise))[0])


def layerwise(
    name: str,
    estimate: Callable[[Site, Callable[[Array], Array], Array], Array],
    *families: type,
) -> Estimator:
    """Builds an estimator from one run and, at each layer, an estimate from branches of it.

    Args:
      name: the estimator's name, for error messages.
      estimate: ``estimate(site, change, key) -> g``, where ``change(z)`` is the change [B] of the
        losses when the site is set to z and the sites below are resampled with the noise of the
        run.
      families: the distributions that it supports.
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
