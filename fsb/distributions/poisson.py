"""Poisson units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln
from jaxtyping import Key

from fsb.distributions.bernoulli import noise_dtype
from fsb.distributions.numeric import Numeric, Parameter, along_last, widely
from fsb.types import Array, PRNGKey, Units

LARGE = 12.0  # rate up to which the entropy is a sum over 64 counts; asymptotic above


@dataclass(frozen=True)
class Poisson(Numeric):
    """Independent counts 0, 1, 2, ... with eta [B, D...] the logarithm of the rate.

    A log-rate of -inf is the rate 0. The rate itself must be a finite number.

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

    @widely
    def log_prob(self, eta: Parameter, z: Parameter) -> Parameter:
        return count_log_prob(z, eta)

    @widely
    def entropy(self, eta: Units) -> Units:
        """Accurate to 1e-5: by summation for rates up to 12, by an asymptotic series beyond."""
        few = jnp.minimum(eta, math.log(LARGE))[..., None]
        counts = along_last(jnp.arange(64, dtype=eta.dtype), eta)
        log = count_log_prob(counts, few)
        per_rate = jnp.exp(-jnp.maximum(eta, math.log(LARGE)))
        tail = per_rate * (1 / 12 + per_rate * (1 / 24 + per_rate * 19 / 360))
        many = 0.5 * (math.log(2 * math.pi * math.e) + jnp.maximum(eta, math.log(LARGE))) - tail
        return jnp.where(eta < math.log(LARGE), -(jnp.exp(log) * log).sum(-1), many)


@jax.custom_jvp
def count_log_prob(z: Array, eta: Array) -> Array:
    """z eta - e^eta - log z!, also for eta of -inf, where the count is 0."""
    return z * jnp.clip(eta, -1e30, 1e30) - jnp.exp(eta) - gammaln(z + 1)


@count_log_prob.defjvp
def _count_log_prob_jvp(primals, tangents):
    (z, eta), (z_dot, eta_dot) = primals, tangents
    slope = jnp.clip(eta, -1e30, 1e30) - digamma(z + 1)
    return count_log_prob(z, eta), (z - jnp.exp(eta)) * eta_dot + slope * z_dot
