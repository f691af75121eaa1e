"""Output distributions p(x | z): how a decoder's last layer is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import jax.numpy as jnp

from fsb.distributions import Bernoulli, Normal
from fsb.sites import per_example
from fsb.types import Array


class Likelihood(Protocol):
    """``outputs`` numbers per data dimension, on the last axis: [B, ..., outputs].

    ``offset(mean)`` is added to the decoder's outputs, so that an untrained decoder starts at the
    data mean; ``log_prob(outputs, x)`` is [B] in nats; ``mean(outputs)`` is shaped like x.
    """

    outputs: ClassVar[int]

    def offset(self, mean: Array) -> Array: ...
    def log_prob(self, outputs: Array, x: Array) -> Array: ...
    def mean(self, outputs: Array) -> Array: ...


@dataclass(frozen=True)
class BernoulliLikelihood:
    """Independent binary pixels x in {0, 1}; one logit each.

    >>> import jax.numpy as jnp
    >>> x = jnp.ones((1, 2))
    >>> BernoulliLikelihood().log_prob(jnp.zeros((1, 2, 1)), x).tolist()
    [-1.3862943649291992]
    """

    outputs: ClassVar[int] = 1

    def offset(self, mean: Array) -> Array:
        p = jnp.clip(mean, 1e-3, 1 - 1e-3)
        return jnp.log(p / (1 - p))[..., None]

    def log_prob(self, outputs: Array, x: Array) -> Array:
        return per_example(Bernoulli().log_prob(outputs[..., 0], x))

    def mean(self, outputs: Array) -> Array:
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

    def offset(self, mean: Array) -> Array:
        return jnp.stack([mean, jnp.full_like(mean, -3.0)], -1)

    def log_prob(self, outputs: Array, x: Array) -> Array:
        scale = jnp.exp(0.5 * jnp.clip(outputs[..., 1], self.low, self.high))
        return per_example(Normal().log_prob((outputs[..., 0], scale), x))

    def mean(self, outputs: Array) -> Array:
        return outputs[..., 0]
