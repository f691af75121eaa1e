"""Deterministic units."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from fsb.distributions.numeric import Numeric
from fsb.errors import FsbError
from fsb.types import PRNGKey, Units


@dataclass(frozen=True)
class Dirac(Numeric):
    """Deterministic units, z = eta [B, D...]; their stochastic gradient is plain backpropagation.

    The entropy is 0. There is no density and no score: ``log_prob`` raises ``FsbError``.

    >>> import jax, jax.numpy as jnp
    >>> Dirac().sample(jax.random.key(0), jnp.array([[0.3]])).tolist() == [[jnp.float32(0.3)]]
    True
    """

    def noise(self, key: PRNGKey, eta: Units) -> Units:
        """Zeros; the noise is not used."""
        return jnp.zeros_like(eta)

    def from_noise(self, noise: Units, eta: Units) -> Units:
        return eta

    def mean(self, eta: Units) -> Units:
        return eta

    def log_prob(self, eta: Units, z: Units) -> Units:
        raise FsbError("Dirac has no density and no score; use pathwise or fourier_exact")

    def entropy(self, eta: Units) -> Units:
        return jnp.zeros_like(eta)

    def support(self, eta: Units) -> Units:
        raise FsbError("Dirac cannot be enumerated: its value depends on eta")
