"""Laplace units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from fsb.distributions.bernoulli import noise_dtype
from fsb.types import Array, FsbError


@dataclass(frozen=True)
class Laplace:
    """Independent Laplace units with eta = (loc, scale), both [B, D...], scale > 0.

    Density e^(-|z - loc| / scale) / (2 scale).

    >>> import jax.numpy as jnp
    >>> eta = (jnp.zeros((1, 1)), jnp.full((1, 1), 0.5))
    >>> Laplace().entropy(eta).tolist(), abs(Laplace().log_prob(eta, eta[0]).item()) < 1e-6
    ([[1.0]], True)
    """

    reparameterized: ClassVar[bool] = True

    def sample(self, key: Array, eta: tuple[Array, Array]) -> Array:
        return self.from_noise(self.noise(key, eta), eta)

    def noise(self, key: Array, eta: tuple[Array, Array]) -> Array:
        """Laplace noise of location 0 and scale 1, one a unit."""
        return jax.random.laplace(key, eta[0].shape, noise_dtype(eta[0]))

    def from_noise(self, noise: Array, eta: tuple[Array, Array]) -> Array:
        loc, scale = eta
        return loc + scale * noise.astype(loc.dtype)

    def mean(self, eta: tuple[Array, Array]) -> Array:
        return eta[0]

    def log_prob(self, eta: tuple[Array, Array], z: Array) -> Array:
        loc, scale = eta
        return -jnp.abs(z - loc) / scale - jnp.log(2 * scale)

    def entropy(self, eta: tuple[Array, Array]) -> Array:
        return 1 + jnp.log(2 * eta[1])

    def decode(self, z: Array) -> Array:
        return z

    def support(self, eta: tuple[Array, Array]) -> Array:
        raise FsbError("Laplace has infinitely many values and cannot be enumerated")
