"""Poisson units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Key

from fsb.distributions.bernoulli import noise_dtype
from fsb.distributions.numeric import Numeric
from fsb.types import Array, PRNGKey, Units

LARGE = 12.0  # rate up to which the entropy is a sum over 64 counts; asymptotic above


@dataclass(frozen=True)
class Poisson(Numeric):
    """Independent counts 0, 1, 2, ... with eta [B, D...] the logarithm of the rate.

    >>> import jax.numpy as jnp
    >>> Poisson().mean(jnp.zeros((1, 1))).tolist()
    [[1.0]]
    """

    reparameterized: ClassVar[bool] = False

    def noise(self, key: PRNGKey, eta: Units) -> Key[Array, "*batch"]:
        """One key per unit, [B, D...]."""
        return jax.random.split(key, eta.shape)

    def from_noise(self, keys: Key[Array, "*batch"], eta: Units) -> Units:
        draw = jax.random.poisson
        for _ in eta.shape:
            draw = jax.vmap(draw)
        rate = jnp.exp(jax.lax.stop_gradient(eta).astype(noise_dtype(eta)))
        return draw(keys, rate).astype(eta.dtype)

    def mean(self, eta: Units) -> Units:
        return jnp.exp(eta)

    def log_prob(self, eta: Units, z: Array) -> Units:
        return z * eta - jnp.exp(eta) - gammaln(z + 1)

    def entropy(self, eta: Units) -> Units:
        """Accurate to 1e-5: by summation for rates up to 12, by an asymptotic series beyond."""
        few = jnp.minimum(eta, math.log(LARGE))[..., None]
        counts = jnp.arange(64, dtype=eta.dtype).reshape((1,) * eta.ndim + (64,))
        log = self.log_prob(few, counts)
        per_rate = jnp.exp(-jnp.maximum(eta, math.log(LARGE)))
        tail = per_rate * (1 / 12 + per_rate * (1 / 24 + per_rate * 19 / 360))
        many = 0.5 * (math.log(2 * math.pi * math.e) - jnp.log(per_rate)) - tail
        return jnp.where(eta < math.log(LARGE), -(jnp.exp(log) * log).sum(-1), many)
