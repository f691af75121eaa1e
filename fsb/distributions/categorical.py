"""Units with K values, as one-hot vectors, parameterised by their logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from fsb.distributions.bernoulli import noise_dtype
from fsb.types import Array


@dataclass(frozen=True)
class Categorical:
    """Independent K-valued units: eta [B, D..., K] logits, z [B, D..., K] one-hot.

    Finite, with finite gradients, for finite logits of any size.

    >>> import jax, jax.numpy as jnp
    >>> Categorical().sample(jax.random.key(0), jnp.array([[[-1000.0, 0.0, 1000.0]]])).tolist()
    [[[0.0, 0.0, 1.0]]]
    """

    reparameterized: ClassVar[bool] = False

    def sample(self, key: Array, eta: Array) -> Array:
        wide = eta.astype(noise_dtype(eta))
        return jax.nn.one_hot(jax.random.categorical(key, wide), eta.shape[-1], dtype=eta.dtype)

    def mean(self, eta: Array) -> Array:
        return jax.nn.softmax(eta)

    def log_prob(self, eta: Array, z: Array) -> Array:
        """sum_k z_k log softmax(eta)_k, [B, D...]: linear in z, as for relaxed values."""
        return (z * jax.nn.log_softmax(eta)).sum(-1)

    def entropy(self, eta: Array) -> Array:
        return -(jax.nn.softmax(eta) * jax.nn.log_softmax(eta)).sum(-1)

    def support(self, eta: Array) -> Array:
        """The values of one unit: the rows of the identity, [K, K]."""
        return jnp.eye(eta.shape[-1], dtype=eta.dtype)

    def decode(self, z: Array) -> Array:
        return z
