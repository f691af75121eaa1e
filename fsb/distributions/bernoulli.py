"""Boolean units in any two-valued encoding, parameterised by their logit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Float

from fsb.errors import FsbError
from fsb.runtime.random import uniform
from fsb.types import AnyArray, Array, Eta, PRNGKey, Units

TINY = 2.0**-24  # below the smallest positive noise; keeps its logarithm finite


@dataclass(frozen=True)
class Bernoulli:
    """Independent two-valued units: z = high with probability sigmoid(eta), else low.

    ``Bernoulli()`` takes values in {0, 1} and ``Bernoulli(-a, a)`` in {-a, a}. All methods and
    their gradients are finite for logits of any size, including infinite ones (p = 0 or 1).

    Args:
      low, high: the two values, low < high.

    Raises:
      FsbError: if ``low`` is not below ``high``.

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
        """high - low, the derivative of the mean with respect to the probability."""
        return self.high - self.low

    def encode(self, bit: Float[AnyArray, "*batch"]) -> Float[AnyArray, "*batch"]:
        """Maps [0, 1] onto [low, high]."""
        return self.low * (1 - bit) + self.high * bit  # exact at both ends, in any precision

    def decode(self, z: Units) -> Units:
        """Maps [low, high] onto [0, 1], exactly at both ends: infinite logits allow no rounding."""
        from_low, from_high = (z - self.low) / self.span, (self.high - z) / self.span
        return jnp.where(from_low > from_high, 1 - from_high, from_low)

    def sample(self, key: PRNGKey, eta: Units) -> Units:
        return self.from_noise(self.noise(key, eta), eta)

    def noise(self, key: PRNGKey, eta: Units) -> Units:
        """u ~ U(0, 1), one per unit; never 0, which would make p = 1e-18 possible."""
        u = uniform(key, eta.shape, noise_dtype(eta))
        return jnp.maximum(u, jnp.finfo(u.dtype).epsneg)

    def from_noise(self, u: Units, eta: Units) -> Units:
        """high where u < sigmoid(eta), else low: an exact sample."""
        return self.encode((u < jax.nn.sigmoid(eta.astype(u.dtype))).astype(eta.dtype))

    def perturb(self, u: Units, eta: Units) -> Units:
        """zeta = eta + logit(1 - u), with logistic noise; positive where the draw is high."""
        u = jnp.maximum(u, TINY)  # 1 - u is exact: u is a multiple of the ulp of 1
        return jnp.clip(eta.astype(u.dtype), -1e30, 1e30) + (jnp.log(1 - u) - jnp.log(u))

    def conditional(self, v: Units, eta: Units, hard: Units) -> Units:
        """Samples zeta given the draw, from fresh noise v ~ U[0, 1).

        With s = +1 for high and -1 for low, s (log(1 + v e^{s eta}) - log(1 - v)): the textbook
        formula, rearranged to avoid cancellation.
        """
        v, sign = jnp.maximum(v, TINY), (2 * self.decode(hard) - 1).astype(v.dtype)
        eta = jnp.clip(eta.astype(v.dtype), -1e30, 1e30)
        return sign * (softplus(sign * eta + jnp.log(v)) - jnp.log(1 - v))

    def soften(self, zeta: Units, temperature: Array | float) -> Units:
        """low + (high - low) sigmoid(zeta / temperature)."""
        return self.encode(jax.nn.sigmoid(zeta / temperature))

    def other(self, z: Units) -> Units:
        """The other value of each unit."""
        low, high = self.support(z)
        return jnp.where(z == high, low, high)

    def mean(self, eta: Units) -> Units:
        return self.encode(jax.nn.sigmoid(eta))

    def log_prob(self, eta: Units, z: Units) -> Units:
        """b log sigmoid(eta) + (1 - b) log sigmoid(-eta) with b = decode(z), in nats per unit.

        Linear in z, so it is also defined and correctly differentiable for relaxed and noisy values
        between low and high, where it is a cross-entropy.
        """
        return linear_log_prob(self.decode(z), eta)

    def entropy(self, eta: Units) -> Units:
        """-p log p - (1 - p) log(1 - p), in nats per unit."""
        return logit_entropy(eta)

    def support(self, eta: Eta) -> Float[Array, " 2"]:
        """The two values of one unit, [2]."""
        return self.encode(jnp.array([0, 1], eta.dtype))


def bit_variance(eta: Array) -> Array:
    """p (1 - p) for p = sigmoid(eta): the variance of the bit, and dp / d eta."""
    return jax.nn.sigmoid(eta) * jax.nn.sigmoid(-eta)


def noise_dtype(eta: Array) -> jnp.dtype:
    """At least float32: the eight bits of bfloat16 noise would bias every probability."""
    return jnp.promote_types(eta.dtype, jnp.float32)


def softplus(x: Array) -> Array:
    """log(1 + e^x), with an absolute error of 1e-7; twice as fast as ``jax.nn.softplus``."""
    return jnp.maximum(x, 0) + jnp.log(1 + jnp.exp(-jnp.abs(x)))


@jax.custom_jvp
def linear_log_prob(b: Array, eta: Array) -> Array:
    """b eta - log(1 + e^eta), also for infinite eta."""
    eta = jnp.clip(eta, -1e30, 1e30)  # inf - inf would be nan
    return b * eta - softplus(eta)


@linear_log_prob.defjvp
def _linear_log_prob_jvp(primals, tangents):
    (b, eta), (b_dot, eta_dot) = primals, tangents
    slope = jnp.clip(eta, -1e30, 1e30)
    # b - sigmoid(eta), accurate also where the value is almost certain
    score = b * jax.nn.sigmoid(-eta) - (1 - b) * jax.nn.sigmoid(eta)
    return linear_log_prob(b, eta), score * eta_dot + slope * b_dot


@jax.custom_jvp
def logit_entropy(eta: Array) -> Array:
    """-p log p - (1 - p) log(1 - p) for p = sigmoid(eta)."""
    t = jnp.minimum(jnp.abs(eta), 100.0)  # beyond it is 0, and inf * 0 would be nan
    return softplus(-t) + t * jax.nn.sigmoid(-t)


@logit_entropy.defjvp
def _logit_entropy_jvp(primals, tangents):
    t = jnp.clip(primals[0], -100.0, 100.0)
    return logit_entropy(primals[0]), -t * jax.nn.sigmoid(t) * jax.nn.sigmoid(-t) * tangents[0]
