"""Laplace units."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from fsb.distributions.bernoulli import noise_dtype
from fsb.distributions.numeric import LocationScale, Pair, widely
from fsb.types import PRNGKey, Units


@dataclass(frozen=True)
class Laplace(LocationScale):
    """Independent Laplace units with eta = (loc, scale), both [B, D...], scale > 0.

    The density is e^(-|z - loc| / scale) / (2 scale).

    >>> import jax.numpy as jnp
    >>> eta = (jnp.zeros((1, 1)), jnp.full((1, 1), 0.5))
    >>> Laplace().entropy(eta).tolist(), abs(Laplace().log_prob(eta, eta[0]).item()) < 1e-6
    ([[1.0]], True)
    """

    def noise(self, key: PRNGKey, eta: Pair) -> Units:
        """Standard Laplace noise, one per unit."""
        loc, _ = self.canonical(eta)
        return jax.random.laplace(key, loc.shape, noise_dtype(loc))

    @widely
    def log_prob(self, eta: Pair, z: Units) -> Units:
        loc, scale = eta
        return -jnp.abs(z - loc) / scale - jnp.log(2 * scale)

    @widely
    def entropy(self, eta: Pair) -> Units:
        return 1 + jnp.log(2 * eta[1])
