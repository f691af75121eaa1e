"""Attaching an estimate to the losses, for estimators that work on whole runs.

An estimator of this kind computes one array ``g`` per site, an estimate of the derivative of each
example's expected loss in that site's ``eta``. ``attach`` leaves the losses as they are and makes
``g`` their derivative in ``eta``; upstream of the site all is ordinary backpropagation.
"""

from __future__ import annotations

from collections.abc import Iterable

import jax
import jax.numpy as jnp

from fsb.sites import Site
from fsb.types import Array


@jax.custom_vjp
def attach(losses: Array, eta: Array, g: Array) -> Array:
    """The losses [B], with g [B, D...] as the derivative of losses[b] in eta[b].

    >>> import jax, jax.numpy as jnp
    >>> f = lambda eta: attach(jnp.array([5.0]), eta, jnp.array([[2.0, 3.0]])).sum()
    >>> [v.tolist() for v in jax.value_and_grad(f)(jnp.zeros((1, 2)))]
    [5.0, [[2.0, 3.0]]]
    """
    return losses


def _forward(losses, eta, g):
    return losses, (g, jnp.zeros((0,), eta.dtype))


def _backward(residual, cotangent):
    g, like = residual
    weight = cotangent.reshape(cotangent.shape + (1,) * (g.ndim - 1))
    return cotangent, (weight * g).astype(like.dtype), jnp.zeros_like(g)


attach.defvjp(_forward, _backward)


def attach_all(losses: Array, sites: Iterable[Site], estimates: Iterable[Array]) -> Array:
    """``attach`` for every site of a run."""
    for site, g in zip(sites, estimates, strict=True):
        losses = attach(losses, site.eta, jax.lax.stop_gradient(g))
    return losses
