"""Fini: weighted straight-through for counts."""

from __future__ import annotations

import jax.numpy as jnp

from fsb.distributions import Poisson
from fsb.errors import FsbError
from fsb.estimators.local import pretend
from fsb.types import Estimator


def fini(degree: int = 2) -> Estimator:
    r"""Fini: straight-through for counts, weighted to be exact for polynomials of low degree.

    For Poisson units of rate :math:`\lambda`, with z the count,

    .. math:: \bar\eta = g \, w_D(z), \quad w_1 = \lambda, \quad w_2 = \frac{z + \lambda}{2}, \quad
        w_3 = \frac{5 \lambda}{12} + \frac{(8 \lambda + 1) z}{12 \lambda}
        - \frac{z^2}{12 \lambda},

    the polynomial of degree D - 1 in z with
    :math:`E[z^{d-1} w_D(z)] = \tfrac1d \partial E[z^d] / \partial \log\lambda` for d <= D.
    Biased, except for losses that are polynomials of degree at most D in each unit. One evaluation
    of the loss. Supports Poisson sites; ``fourier_exact`` is unbiased for them.

    Source: He & Wu 2026 (Fini).

    Args:
      degree: D, 1 to 3.

    Raises:
      FsbError: if ``degree`` is not 1, 2 or 3.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("z", fsb.Poisson(), eta).sum(-1)
    >>> fsb.value_and_grad(fsb.fini(1), loss)(jnp.zeros((1, 1)), jax.random.key(0))[1].item()
    1.0
    """
    if degree not in (1, 2, 3):
        raise FsbError(f"fini: degree={degree}: it must be 1, 2 or 3")

    def poisson(g, drawn, dist):
        rate, z = jnp.exp(drawn.eta), drawn.hard
        if degree == 1:
            return g * rate
        if degree == 2:
            return g * (z + rate) / 2
        return g * (5 * rate + 8 * z + z * (1 - z) / rate) / 12

    return pretend("fini", {Poisson: poisson})
