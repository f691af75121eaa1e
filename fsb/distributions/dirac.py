"""Deterministic units."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from fsb.distributions.numeric import Numeric
from fsb.errors import FsbError
from fsb.types import Array


@dataclass(frozen=True)
class Dirac(Numeric):
    """Deterministic units, z = eta [B, D...]; their stochastic gradient is plain backpropagation.

    The entropy is 0. There is no density and no score: ``log_prob`` raises ``FsbError``.

    >>> import jax, jax.numpy as jnp
    >>> Dirac().sample(jax.random.key(0), jnp.array([[0.3]])).tolist() == [[jnp.float32(0.3)]]
    True
    """

    def noise(self, key: Array, eta: Array) -> Array:
        """Zeros; the noise is not used."""
        return jnp.zeros_like(eta)

    def from_noise(self, noise: Array, eta: Array) -> Array:
        return eta

    def mean(self, eta: Array) -> Array:
        return eta

    def log_prob(self, eta: Array, z: Array) -> Array:
        raise FsbError("Dirac has no density and no score; use pathwise or fourier_exact")

    def entropy(self, eta: Array) -> Array:
        return jnp.zeros_like(eta)

    def support(self, eta: Array) -> Array:
        raise FsbError("Dirac cannot be enumerated: its value depends on eta")
