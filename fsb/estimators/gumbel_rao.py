"""Gumbel-Rao: Rao-Blackwellised ST-Gumbel-Softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fsb.constraints import known
from fsb.distributions import Bernoulli, Categorical
from fsb.distributions.bernoulli import noise_dtype
from fsb.errors import FsbError
from fsb.estimators.local import (
    Drawn,
    Pull,
    check_temperature,
    plain_noise,
    pretend,
    softmax_pull,
)
from fsb.runtime.random import fold_in
from fsb.types import Array, Estimator


def gumbel_rao(temperature: float = 0.5, samples: int = 10, nodes: int = 24) -> Estimator:
    r"""Gumbel-Rao: the expectation of ST-Gumbel-Softmax given the sample.

    With z the one-hot sample, zeta = eta + Gumbel noise, J(v) = diag(v) - v v^T,

    .. math:: \bar\eta = \tfrac1\tau\, E\left[ J(v)\, g \mid \arg\max \zeta = z \right], \qquad
        v = \mathrm{softmax}(\zeta / \tau).

    Categorical units use the mean over ``samples`` draws of zeta given z. Boolean units use an
    integral,

    .. math:: \bar\eta = g \, \frac{L}{p(z)} \int_{1/2}^1 \ell(\tau\,\mathrm{logit}\,v - s\,\eta)
        \, dv

    with l(x) = sigmoid(x) sigmoid(-x), s = +1 for high and -1 for low, L = high - low, computed by
    quadrature with ``nodes`` nodes, which adds no noise. With 24 nodes its relative error is below
    1e-6 for temperatures up to 1 and logits within 8 of 0.

    Has the mean of ST-Gumbel-Softmax, hence biased; exact for losses quadratic in each unit in the
    limit tau -> 0, where it is ZGR (DARN for Boolean units). Never has more variance than
    ST-Gumbel-Softmax. One evaluation of the loss.

    Source: Paulus, Maddison & Krause 2021 (Rao-Blackwellizing the Straight-Through Gumbel-Softmax
    Gradient Estimator), arXiv:2010.04838; the integral: Shekhovtsov 2021, arXiv:2110.03549,
    eqs. 29-30, for each value separately.

    Args:
      temperature: tau > 0.
      samples: number of conditional noise samples, for categorical units.
      nodes: number of quadrature nodes, for Boolean units.

    Raises:
      FsbError: if an argument is out of range.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> eta, key = jnp.full((1, 1), 0.3), jax.random.key(0)
    >>> rao, darn = (
    ...     fsb.value_and_grad(estimator, loss)(eta, key)[1].item()
    ...     for estimator in (fsb.gumbel_rao(0.001), fsb.darn())
    ... )
    >>> abs(rao / darn - 1) < 0.002
    True
    """
    check_settings("gumbel_rao", temperature, samples, nodes)
    pulls = conditional_pulls(temperature, nodes)
    return pretend("gumbel_rao", pulls, draw_with_more_noise, conditional_noise(samples))


def check_settings(name: str, temperature: float, samples: int, nodes: int) -> None:
    check_temperature(temperature)
    for what, count in (("samples", samples), ("nodes", nodes)):
        if count < 1:
            raise FsbError(f"{name}: {what}={count}: it must be at least 1")


def conditional_noise(samples: int) -> Callable:
    """The noise of the draw; for categorical units also that of ``samples`` logits given it."""

    def noise(key, eta, dist):
        own = plain_noise(key, eta, dist)
        if not isinstance(dist, Categorical):
            return own, ()
        *units, k = eta.shape
        return own, jax.random.gumbel(fold_in(key, 1), (*units, samples, k), own.dtype)

    return noise


def draw_with_more_noise(noise, eta, dist):
    z = dist.from_noise(noise[0], eta)
    return z, z, noise[1]


def conditional_pulls(temperature: float, nodes: int) -> dict[type, Pull]:
    """The mean given the draw of J(softmax(zeta / tau)) g / tau, zeta = ``drawn.eta`` + noise."""
    quadrature = conditional_quadrature(temperature, nodes)

    def boolean(g, drawn, dist):
        log_odds = (2 * dist.decode(drawn.hard) - 1) * drawn.eta
        log_odds = log_odds.astype(noise_dtype(log_odds))
        p, other = jax.nn.sigmoid(log_odds), jax.nn.sigmoid(-log_odds)
        return g * dist.span * sum(c * w * other / (other + p * w) ** 2 for c, w in quadrature)

    def categorical(g: Array, drawn: Drawn, dist: Categorical) -> Array:
        eta, hard, g = (jnp.expand_dims(x, -2) for x in (drawn.eta, drawn.hard, g))
        v = dist.soften(dist.conditional(drawn.extra, eta, hard), temperature)
        return softmax_pull(v, g).mean(-2) / temperature

    return {Bernoulli: boolean, Categorical: categorical}


def conditional_quadrature(temperature: float, nodes: int) -> list[tuple[float, Any]]:
    """Pairs (c, w) with E[slope | draw] = sum of c w (1 - p) / (1 - p + p w)^2, where p = p(draw).

    w = e^{-tau logit v} at Gauss-Legendre nodes in u, where 1 - v = u^4 / 2. Near v = 1, where w is
    (1 - v)^tau, the nodes are dense and their weights small; for small tau, w is flat.
    """
    x, weight = np.polynomial.legendre.leggauss(nodes)
    u = (x + 1) / 2
    rest = u**4 / 2
    w = (np if known(temperature) else jnp).maximum(  # its square stays above zero
        (rest / (1 - rest)) ** temperature, 1e-18
    )
    number = float if known(temperature) else jnp.asarray
    return [(float(a), number(b)) for a, b in zip(weight * u**3, w, strict=True)]
