"""Gumbel-Softmax (Concrete) relaxations of Boolean units."""

from __future__ import annotations

import math

import jax

from fsb.distributions.bernoulli import noise_dtype
from fsb.estimators.local import boolean
from fsb.types import Estimator, FsbError


def gumbel_softmax(temperature: float = 0.5) -> Estimator:
    r"""Gumbel-Softmax / binary Concrete: the model is run on a relaxed sample.

    With logistic noise l = logit(u), u ~ U(0, 1), and L = high - low,

    .. math:: v = \sigma((\eta + l)/\tau), \quad z = \text{low} + L v, \quad
        \bar\eta = g \, L \, v (1 - v) / \tau.

    Biased, even for linear losses (of order tau^2 there, of order tau in general); the variance
    grows as 1/tau. The value too is that of the relaxed run. One evaluation of the loss.

    Source: Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017; bias and variance in Shekhovtsov 2021,
    Propositions 1-4.

    Args:
      temperature: tau > 0.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> estimate = fsb.value_and_grad(fsb.gumbel_softmax(), loss)
    >>> value, grad = estimate(jnp.zeros((1, 1)), jax.random.key(0))
    >>> bool(abs(grad[0, 0] - value * (1 - value) / 0.5) < 1e-6)
    True
    """
    check_temperature(temperature)

    def draw(key, eta, dist):
        v, hard = relax(key, eta, dist, temperature)
        return dist.encode(v), hard, v

    return boolean("gumbel_softmax", draw, relaxed_slope(temperature))


def st_gumbel_softmax(temperature: float = 0.5) -> Estimator:
    r"""Straight-through Gumbel-Softmax: hard samples forward, the relaxation's derivative backward.

    .. math:: z = \text{low} + L\,[\eta + l > 0], \quad
        \bar\eta = g \, L \, v (1 - v)/\tau, \quad v = \sigma((\eta + l)/\tau)

    with the same noise l in both. Its mean tends to DARN's as tau -> 0 (unbiased for quadratics
    there), its variance grows as 1/tau. One evaluation of the loss.

    Source: Jang, Gu & Poole 2017, section 2.2; Shekhovtsov 2021, eq. 13 and Proposition 5.

    Args:
      temperature: tau > 0.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> estimate = fsb.value_and_grad(fsb.st_gumbel_softmax(), loss)
    >>> value, grad = estimate(jnp.zeros((1, 1)), jax.random.key(0))
    >>> value.item() in (0.0, 1.0)
    True
    """
    check_temperature(temperature)

    def draw(key, eta, dist):
        v, hard = relax(key, eta, dist, temperature)
        return hard, hard, v

    return boolean("st_gumbel_softmax", draw, relaxed_slope(temperature))


def relax(key, eta, dist, temperature):
    """The relaxed unit v in [0, 1] and the hard sample of the same noise."""
    noise = jax.random.logistic(key, eta.shape, noise_dtype(eta))
    shifted = eta.astype(noise.dtype) + noise
    v = jax.nn.sigmoid(shifted / temperature)
    return v.astype(eta.dtype), dist.encode((shifted > 0).astype(eta.dtype))


def relaxed_slope(temperature):
    """L v (1 - v) / tau."""
    return lambda eta, hard, v, dist: dist.span * v * (1 - v) / temperature


def check_temperature(temperature: float) -> None:
    if not (temperature > 0 and math.isfinite(temperature)):
        raise FsbError(f"temperature={temperature}: it must be positive and finite")
