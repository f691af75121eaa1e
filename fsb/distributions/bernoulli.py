"""Boolean units in any two-valued encoding, parameterised by their logit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from fsb.types import Array, FsbError


@dataclass(frozen=True)
class Bernoulli:
    """Independent two-valued units: z = high with probability sigmoid(eta), else low.

    ``Bernoulli()`` takes values in {0, 1} and ``Bernoulli(-a, a)`` in {-a, a}. Every method is
    finite, with finite gradients, for logits of any size, infinite ones (p = 0 or 1) included.

    Args:
      low, high: the two values, low < high.

    >>> import jax, jax.numpy as jnp
    >>> Bernoulli(-1.0, 1.0).sample(jax.random.key(0), jnp.array([[-1000.0, 1000.0]])).tolist()
    [[-1.0, 1.0]]
    """

    low: float = 0.0
    high: float = 1.0
    reparameterized: ClassVar[bool] = False

    def __post_init__(self):
        if not self.low < self.high:
            raise FsbError(f"Bernoulli(low={self.low}, high={self.high}): low must be below high")

    @property
    def span(self) -> float:
        """high - low, the derivative of the mean in the probability."""
        return self.high - self.low

    def encode(self, bit: Array) -> Array:
        """Maps [0, 1] onto [low, high]."""
        return self.low * (1 - bit) + self.high * bit  # exact at both ends, in any precision

    def decode(self, z: Array) -> Array:
        """Maps [low, high] onto [0, 1]."""
        return (z - self.low) / self.span

    def sample(self, key: Array, eta: Array) -> Array:
        return self.from_uniform(jax.random.uniform(key, eta.shape, noise_dtype(eta)), eta)

    def from_uniform(self, u: Array, eta: Array) -> Array:
        """high where u < sigmoid(eta), else low; u ~ U[0, 1) gives an exact draw."""
        return self.encode((u < jax.nn.sigmoid(eta.astype(u.dtype))).astype(eta.dtype))

    def mean(self, eta: Array) -> Array:
        return self.encode(jax.nn.sigmoid(eta))

    def log_prob(self, eta: Array, z: Array) -> Array:
        """b log sigmoid(eta) + (1 - b) log sigmoid(-eta) with b = decode(z), in nats per unit.

        Linear in z, so that it is defined, and has the right derivative, for relaxed and noisy
        values between low and high as well (there it is a cross-entropy).
        """
        eta = jnp.clip(eta, -1e30, 1e30)  # inf - inf would be nan
        minus_log_low = softplus(eta)
        # Each distance is exactly 0 at its end, where an infinite logit then does no harm.
        above, below = z - self.low, self.high - z
        return (above * (eta - minus_log_low) - below * minus_log_low) / self.span

    def entropy(self, eta: Array) -> Array:
        """-p log p - (1 - p) log(1 - p), in nats per unit."""
        t = jnp.minimum(jnp.abs(eta), 100.0)  # beyond, the entropy is 0 and inf * 0 would be nan
        return softplus(-t) + t * jax.nn.sigmoid(-t)

    def support(self, eta: Array) -> Array:
        """The values of one unit: [2]."""
        return self.encode(jnp.array([0, 1], eta.dtype))


def noise_dtype(eta: Array) -> jnp.dtype:
    """At least float32: eight bits of bfloat16 noise would bias every probability."""
    return jnp.promote_types(eta.dtype, jnp.float32)


@jax.custom_jvp
def softplus(x: Array) -> Array:
    """log(1 + e^x), to 1e-7 absolute; on CPU half the time of the library's, which keeps relative
    accuracy where the value is below 1e-7 (no use in a sum of nats)."""
    return jnp.maximum(x, 0) + jnp.log(1 + jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _softplus_jvp(primals, tangents):
    return softplus(primals[0]), jax.nn.sigmoid(primals[0]) * tangents[0]
