"""Output distributions p(x | z): how a decoder's last layer is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr
from jaxtyping import Float

from fsb.distributions import Bernoulli, Normal
from fsb.sites import per_example
from fsb.types import Array, Units


@runtime_checkable
class Likelihood(Protocol):
    """``outputs`` numbers per data dimension, on the last axis: [B, ..., outputs].

    ``offset(mean)`` is added to the decoder's outputs, so that an untrained decoder starts at the
    data mean; ``log_prob(outputs, x)`` is [B] in nats; ``mean(outputs)`` is shaped like x.
    """

    outputs: ClassVar[int]

    def offset(self, mean: Float[Array, "*shape"]) -> Float[Array, "*shape outputs"]: ...
    def log_prob(
        self, outputs: Float[Array, "batch *shape outputs"], x: Float[Array, batch * shape]
    ) -> Float[Array, " batch"]: ...
    def mean(self, outputs: Float[Array, "*shape outputs"]) -> Float[Array, "*shape"]: ...


@dataclass(frozen=True)
class BernoulliLikelihood:
    """Independent binary pixels x in {0, 1}; one logit each.

    >>> import jax.numpy as jnp
    >>> x = jnp.ones((1, 2))
    >>> BernoulliLikelihood().log_prob(jnp.zeros((1, 2, 1)), x).tolist()
    [-1.3862943649291992]
    """

    outputs: ClassVar[int] = 1

    def offset(self, mean: Float[Array, "*shape"]) -> Float[Array, "*shape outputs"]:
        p = jnp.clip(mean, 1e-3, 1 - 1e-3)
        return jnp.log(p / (1 - p))[..., None]

    def log_prob(
        self, outputs: Float[Array, "batch *shape outputs"], x: Float[Array, batch * shape]
    ) -> Float[Array, " batch"]:
        return per_example(Bernoulli().log_prob(outputs[..., 0], x))

    def mean(self, outputs: Float[Array, "*shape outputs"]) -> Float[Array, "*shape"]:
        return Bernoulli().mean(outputs[..., 0])


@dataclass(frozen=True)
class GaussianLikelihood:
    """Independent Gaussian pixels with learned mean and log variance, the latter clamped.

    The data must be dequantised: with a learned variance the density of discrete values has no
    upper bound.

    Args:
      low, high: bounds of the log variance.
    """

    low: float = -7.0
    high: float = 3.0
    outputs: ClassVar[int] = 2

    def offset(self, mean: Float[Array, "*shape"]) -> Float[Array, "*shape outputs"]:
        return jnp.stack([mean, jnp.full_like(mean, -3.0)], -1)

    def log_prob(
        self, outputs: Float[Array, "batch *shape outputs"], x: Float[Array, batch * shape]
    ) -> Float[Array, " batch"]:
        scale = jnp.exp(0.5 * jnp.clip(outputs[..., 1], self.low, self.high))
        return per_example(Normal().log_prob((outputs[..., 0], scale), x))

    def mean(self, outputs: Float[Array, "*shape outputs"]) -> Float[Array, "*shape"]:
        return outputs[..., 0]


@dataclass(frozen=True)
class DiscretizedLogisticLikelihood:
    r"""The 256 levels of a pixel, each with the mass that a logistic density has over its bin.

    Level k is x in [k / 256, (k + 1) / 256), and the outputs are a location m and a log scale:

    .. math:: P(k) = F((k + 1) / 256) - F(k / 256), \qquad F(t) = \sigma((t - m) / s),

    but the bins of the first and last level are open, so that the masses sum to 1. Finite, with
    finite gradients, for any location.

    Source: Salimans et al. 2017 (PixelCNN++), arXiv:1701.05517, eqs. 1-2, without the mixture.

    Args:
      low, high: bounds of the log scale.

    >>> import jax.numpy as jnp
    >>> x = (jnp.arange(256)[:, None] + 0.5) / 256
    >>> outputs = jnp.broadcast_to(jnp.array([0.3, -2.0]), (256, 1, 2))
    >>> masses = jnp.exp(DiscretizedLogisticLikelihood().log_prob(outputs, x))
    >>> round(float(masses.sum()), 4)
    1.0
    """

    low: float = -7.0
    high: float = 3.0
    outputs: ClassVar[int] = 2

    def offset(self, mean: Float[Array, "*shape"]) -> Float[Array, "*shape outputs"]:
        return jnp.stack([mean, jnp.full_like(mean, -1.5)], -1)

    def log_prob(
        self, outputs: Float[Array, "batch *shape outputs"], x: Float[Array, batch * shape]
    ) -> Float[Array, " batch"]:
        k, below, above, width = self._bin(outputs, x)
        # F(above) - F(below) = F(above) (1 - F(below)) (1 - e^-width), without a difference.
        inner = jax.nn.log_sigmoid(above) + jax.nn.log_sigmoid(-below) + log1mexp(width)
        first, last = jax.nn.log_sigmoid(above), jax.nn.log_sigmoid(-below)
        return per_example(jnp.where(k == 0, first, jnp.where(k == 255, last, inner)))

    def mean(self, outputs: Float[Array, "*shape outputs"]) -> Float[Array, "*shape"]:
        """E[x] of the levels' middles."""
        return _mean(outputs, self.low, self.high, jax.nn.sigmoid)

    def _bin(
        self, outputs: Float[Array, "*shape outputs"], x: Float[Array, "*shape"]
    ) -> tuple[Units, Units, Units, Units]:
        """The level of x, and the ends and the width of its bin in units of the scale."""
        k = jnp.clip(jnp.floor(256 * x), 0, 255)
        scale = jnp.exp(jnp.clip(outputs[..., 1], self.low, self.high))
        below, above = ((edge / 256 - outputs[..., 0]) / scale for edge in (k, k + 1))
        return k, below, above, 1 / (256 * scale)


@dataclass(frozen=True)
class DiscretizedGaussianLikelihood(DiscretizedLogisticLikelihood):
    r"""As ``DiscretizedLogisticLikelihood``, with a Gaussian density: F(t) = \Phi((t - m) / s).

    The outputs are the mean and the log standard deviation.

    >>> import jax.numpy as jnp
    >>> x = (jnp.arange(256)[:, None] + 0.5) / 256
    >>> outputs = jnp.broadcast_to(jnp.array([0.3, -2.0]), (256, 1, 2))
    >>> masses = jnp.exp(DiscretizedGaussianLikelihood().log_prob(outputs, x))
    >>> round(float(masses.sum()), 4)
    1.0
    """

    def log_prob(
        self, outputs: Float[Array, "batch *shape outputs"], x: Float[Array, batch * shape]
    ) -> Float[Array, " batch"]:
        k, below, above, width = self._bin(outputs, x)
        inner = log_normal_mass(0.5 * (below + above), width)
        first, last = log_normal_tail(-above), log_normal_tail(below)
        return per_example(jnp.where(k == 0, first, jnp.where(k == 255, last, inner)))

    def mean(self, outputs: Float[Array, "*shape outputs"]) -> Float[Array, "*shape"]:
        return _mean(outputs, self.low, self.high, jax.scipy.special.ndtr)


def _mean(
    outputs: Float[Array, "*shape outputs"],
    low: float,
    high: float,
    cumulative: Callable[[Array], Array],
) -> Float[Array, "*shape"]:
    """E[(k + 1/2) / 256] = 511/512 - sum over the inner edges of F(edge) / 256."""
    scale = jnp.exp(jnp.clip(outputs[..., 1], low, high))[..., None]
    edges = jnp.arange(1, 256, dtype=outputs.dtype) / 256
    edges = edges.reshape((1,) * (outputs.ndim - 1) + (-1,))
    return 511 / 512 - cumulative((edges - outputs[..., :1]) / scale).sum(-1) / 256


LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


def log1mexp(t: Units) -> Units:
    """log(1 - e^-t) for t > 0."""
    return jnp.log(-jnp.expm1(-t))


def log_mills(t: Units) -> Units:
    """log of (1 - Phi(t)) / phi(t) for t > -5: smooth, about -log t for large t."""
    near, far = jnp.minimum(t, 10.0), jnp.maximum(t, 10.0)
    series = jnp.log1p((-1 + (3 - 15 / far**2) / far**2) / far**2) - jnp.log(far)
    return jnp.where(t < 10, log_ndtr(-near) + 0.5 * near**2 + LOG_ROOT_2PI, series)


def log_normal_tail(t: Units) -> Units:
    """log(1 - Phi(t)), its derivative finite and right however far out t is.

    That of the library's ``log_ndtr`` is the exponential of a difference of two large numbers.
    """
    right, left = jnp.maximum(t, 0.0), jnp.minimum(t, 0.0)
    return jnp.where(t > 0, -0.5 * right**2 - LOG_ROOT_2PI + log_mills(right), log_ndtr(-left))


def log_normal_mass(centre: Units, width: Units) -> Units:
    """log(Phi(centre + width / 2) - Phi(centre - width / 2)) for 0 < width < 8.

    By symmetry in the right tail, with Mills' ratio R = (1 - Phi) / phi, a < b the ends:
    log phi(a) + log R(a) + log(1 - e^{(a^2 - b^2) / 2} R(b) / R(a)). Where that would be a
    difference of near equals the interval is narrow: density times width, to second order.
    """
    c = jnp.abs(centre)
    narrow = width * jnp.maximum(c, 1.0) < 0.1
    a = c - 0.5 * width
    log_a, log_b = log_mills(a), log_mills(a + width)
    gap = jnp.maximum(width * c + log_a - log_b, 1e-3)
    wide = -0.5 * a**2 + log_a + log1mexp(gap)
    bend = jnp.where(narrow, width**2 * (c**2 - 1) / 24, 0.0)
    density = -0.5 * c**2 + jnp.log(width) + jnp.log1p(bend)
    return jnp.where(narrow, density, wide) - LOG_ROOT_2PI
