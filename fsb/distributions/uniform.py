"""Uniform units on an interval."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from fsb.distributions.bernoulli import noise_dtype
from fsb.distributions.numeric import Numeric, Pair, widely
from fsb.errors import FsbError
from fsb.runtime.random import uniform
from fsb.types import Array, PRNGKey, Units


@dataclass(frozen=True)
class Uniform(Numeric):
    """Independent uniform units with eta = (low, high), both [B, D...], low < high.

    The interval moves with eta, so the score function is no unbiased estimate, and ``log_prob``
    has no derivative: differentiating it raises ``FsbError``. Use ``pathwise``, and ``entropy``
    where a loss needs log p.

    >>> import jax.numpy as jnp
    >>> eta = (jnp.zeros((1, 1)), jnp.full((1, 1), 4.0))
    >>> Uniform().mean(eta).item(), round(Uniform().entropy(eta).item(), 4)
    (2.0, 1.3863)
    """

    parameters = ("low", "high")

    def noise(self, key: PRNGKey, eta: Pair) -> Units:
        """u ~ U[0, 1), one per unit."""
        low, _ = self.canonical(eta)
        return uniform(key, low.shape, noise_dtype(low))

    def from_noise(self, u: Units, eta: Pair) -> Units:
        low, high = self.canonical(eta)
        u = u.astype(low.dtype)
        return low * (1 - u) + high * u

    def mean(self, eta: Pair) -> Units:
        low, high = self.canonical(eta)
        return 0.5 * low + 0.5 * high

    @widely
    def log_prob(self, eta: Pair, z: Units) -> Units:
        """-log(high - low) inside the interval, -inf outside."""
        return interval_log_prob(*eta, z)

    @widely
    def entropy(self, eta: Pair) -> Units:
        """log(high - low)."""
        low, high = eta
        return jnp.log(high - low)


@jax.custom_jvp
def interval_log_prob(low: Array, high: Array, z: Array) -> Array:
    """The log-density of a uniform variable, without a derivative."""
    return jnp.where((low <= z) & (z <= high), -jnp.log(high - low), -jnp.inf)


@interval_log_prob.defjvp
def _interval_log_prob_jvp(primals, tangents):
    raise FsbError("Uniform has no score, as its interval moves with eta; use pathwise")
