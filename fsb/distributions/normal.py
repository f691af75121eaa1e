"""Gaussian units."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from fsb.distributions.bernoulli import noise_dtype
from fsb.distributions.numeric import LocationScale, Pair, widely
from fsb.types import PRNGKey, Units


@dataclass(frozen=True)
class Normal(LocationScale):
    """Independent Gaussian units with eta = (loc, scale), both [B, D...], scale > 0.

    >>> import jax, jax.numpy as jnp
    >>> eta = (jnp.zeros((1, 2)), jnp.ones((1, 2)))
    >>> [round(v, 4) for v in Normal().entropy(eta)[0].tolist()]
    [1.4189, 1.4189]
    """

    def noise(self, key: PRNGKey, eta: Pair) -> Units:
        """Standard normal noise, one per unit."""
        loc, _ = self.canonical(eta)
        return jax.random.normal(key, loc.shape, noise_dtype(loc))

    @widely
    def log_prob(self, eta: Pair, z: Units) -> Units:
        loc, scale = eta
        standard = (z - loc) / scale
        return -0.5 * (standard * standard + math.log(2 * math.pi)) - jnp.log(scale)

    @widely
    def entropy(self, eta: Pair) -> Units:
        return 0.5 * (1 + math.log(2 * math.pi)) + jnp.log(eta[1])
