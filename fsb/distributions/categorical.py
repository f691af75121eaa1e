"""One-hot units with K values, parameterised by their logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Float

from fsb.distributions.bernoulli import noise_dtype
from fsb.types import Array, Eta, PRNGKey, Units, Vectors

LARGE = 1e30  # of logits; differences of two of them are finite


@dataclass(frozen=True)
class Categorical:
    """Independent K-valued units: eta [B, D..., K] are logits, z [B, D..., K] is one-hot.

    All methods and their gradients are finite for logits of any size. A value of logit -inf has
    probability 0; the values whose logit is the largest share what infinite logits leave.

    >>> import jax, jax.numpy as jnp
    >>> Categorical().sample(jax.random.key(0), jnp.array([[[-1000.0, 0.0, 1000.0]]])).tolist()
    [[[0.0, 0.0, 1.0]]]
    """

    reparameterized: ClassVar[bool] = False

    def canonical(self, eta: Vectors) -> Vectors:
        """eta with logits beyond 1e30 replaced by finite ones of the same probabilities."""
        return bounded(eta)

    def sample(self, key: PRNGKey, eta: Vectors) -> Vectors:
        return self.from_noise(self.noise(key, eta), self.canonical(eta))

    def noise(self, key: PRNGKey, eta: Vectors) -> Vectors:
        """Gumbel noise, one per value: [B, D..., K]."""
        return jax.random.gumbel(key, eta.shape, noise_dtype(eta))

    def from_noise(self, gumbel: Vectors, eta: Vectors) -> Vectors:
        """One-hot argmax of eta + noise: an exact sample, for eta as ``canonical`` returns it."""
        best = jnp.argmax(eta.astype(gumbel.dtype) + gumbel, -1)
        return jax.nn.one_hot(best, eta.shape[-1], dtype=eta.dtype)

    def perturb(self, gumbel: Vectors, eta: Float[Array, "*#batch k"]) -> Vectors:
        """zeta = log softmax(eta) + noise; its argmax is the draw."""
        return jax.nn.log_softmax(bounded(eta).astype(gumbel.dtype)) + gumbel

    def conditional(
        self, gumbel: Vectors, eta: Float[Array, "*#batch k"], hard: Float[Array, "*#batch k"]
    ) -> Vectors:
        """Samples zeta given the draw, from fresh Gumbel noise.

        The zeta of the drawn value is Gumbel(0); the others are Gumbel(log p_k) truncated at it.
        """
        top = (hard * gumbel).sum(-1, keepdims=True)
        below = -jnp.logaddexp(-self.perturb(gumbel, eta), -top)
        return jnp.where(hard > 0, top, below)

    def soften(self, zeta: Vectors, temperature: Array | float) -> Vectors:
        """softmax(zeta / temperature)."""
        return flat_softmax(zeta / temperature)

    def mean(self, eta: Vectors) -> Vectors:
        return flat_softmax(bounded(eta))

    def log_prob(self, eta: Vectors, z: Vectors) -> Units:
        """sum_k z_k log softmax(eta)_k, [B, D...]; linear in z, so defined for relaxed z."""
        return linear_log_prob(z, bounded(eta))

    def entropy(self, eta: Vectors) -> Units:
        eta = bounded(eta)
        return -(jax.nn.softmax(eta) * jax.nn.log_softmax(eta)).sum(-1)

    def support(self, eta: Eta) -> Float[Array, "k k"]:
        """The values of one unit: the rows of the identity, [K, K]."""
        return jnp.eye(eta.shape[-1], dtype=eta.dtype)

    def decode(self, z: Vectors) -> Vectors:
        return z


@jax.custom_jvp
def bounded(eta: Array) -> Array:
    """eta within +-1e30, with the same softmax; ordinary logits are left as they are.

    >>> bounded(jnp.array([jnp.inf, 0.0, -jnp.inf])).tolist() == bounded(
    ...     jnp.array([0.0, -1e30, -1e30])
    ... ).tolist()
    True
    """
    top = eta.max(-1, keepdims=True)
    below = jnp.where(eta == top, 0, eta - top)  # inf - inf would be nan
    return jnp.maximum(jnp.where(abs(top) < LARGE, eta, below), -LARGE)


@bounded.defjvp
def _bounded_jvp(primals, tangents):
    return bounded(primals[0]), tangents[0]


def flat_softmax(eta: Array) -> Array:
    """softmax with derivatives of exactly 0 where it rounds to one-hot."""
    p = jax.nn.softmax(eta)
    certain = ((p == 0) | (p == 1)).all(-1, keepdims=True)
    return jnp.where(certain, jax.lax.stop_gradient(p), p)


@jax.custom_jvp
def linear_log_prob(z: Array, eta: Array) -> Array:
    """sum_k z_k log softmax(eta)_k."""
    return (z * jax.nn.log_softmax(eta)).sum(-1)


@linear_log_prob.defjvp
def _linear_log_prob_jvp(primals, tangents):
    # Explicit, so that a deterministic unit has a derivative of exactly 0.
    (z, eta), (z_dot, eta_dot) = primals, tangents
    score = z - z.sum(-1, keepdims=True) * jax.nn.softmax(eta)
    slope = jax.nn.log_softmax(eta)
    return linear_log_prob(z, eta), (score * eta_dot + slope * z_dot).sum(-1)
