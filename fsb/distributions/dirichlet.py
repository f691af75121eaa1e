"""Units on the simplex, and beta units, their two-valued case."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln
from jaxtyping import Key

from fsb.distributions.gamma import log_gamma
from fsb.distributions.numeric import Numeric, Pair, widely
from fsb.types import Array, PRNGKey, Units, Vectors


@dataclass(frozen=True)
class Dirichlet(Numeric):
    """Independent Dirichlet units: eta [B, D..., K] concentrations, z [B, D..., K] in the simplex.

    Sampled as normalised gammas in log space, which supports concentrations down to 0.01. Entries
    that underflow are set to the smallest positive number. Differentiable in the same way as
    ``Gamma``.

    >>> import jax.numpy as jnp
    >>> Dirichlet().mean(jnp.array([[[1.0, 3.0]]])).tolist()
    [[[0.25, 0.75]]]
    """

    def noise(self, key: PRNGKey, eta: Vectors) -> Key[Array, "*batch k"]:
        """One key per gamma, [B, D..., K]."""
        return jax.random.split(key, eta.shape)

    def from_noise(self, keys: Key[Array, "*batch k"], eta: Vectors) -> Vectors:
        z = jax.nn.softmax(log_gamma(keys, eta)).astype(eta.dtype)
        return jnp.maximum(z, jnp.finfo(z.dtype).tiny)

    def mean(self, eta: Vectors) -> Vectors:
        return eta / eta.sum(-1, keepdims=True)

    @widely
    def log_prob(self, eta: Vectors, z: Vectors) -> Units:
        return ((eta - 1) * jnp.log(z)).sum(-1) - log_beta(eta)

    @widely
    def entropy(self, eta: Vectors) -> Units:
        total = eta.sum(-1)
        return (
            log_beta(eta)
            + (total - eta.shape[-1]) * digamma(total)
            - ((eta - 1) * digamma(eta)).sum(-1)
        )


@dataclass(frozen=True)
class Beta(Numeric):
    """Independent beta units with eta = (alpha, beta), both [B, D...] and positive.

    z lies strictly between 0 and 1: values that round to an end are moved inside. Near z = 1,
    float32 resolves 1 - z only to 6e-8, which limits the accuracy of the score for small beta.

    >>> import jax.numpy as jnp
    >>> Beta().mean((jnp.ones((1, 1)), jnp.full((1, 1), 3.0))).tolist()
    [[0.25]]
    """

    parameters = ("alpha", "beta")

    def stacked(self, eta: Pair) -> Vectors:
        """The concentrations of a Dirichlet with two values, [B, D..., 2]."""
        return jnp.stack(self.canonical(eta), -1)

    def noise(self, key: PRNGKey, eta: Pair) -> Key[Array, "*batch 2"]:
        """Two keys per unit, [B, D..., 2]."""
        return Dirichlet().noise(key, self.stacked(eta))

    def from_noise(self, keys: Key[Array, "*batch 2"], eta: Pair) -> Units:
        both = self.stacked(eta)
        log = log_gamma(keys, both)
        z = jax.nn.sigmoid(log[..., 0] - log[..., 1]).astype(both.dtype)
        numbers = jnp.finfo(z.dtype)
        return jnp.clip(z, numbers.tiny, 1 - numbers.epsneg)

    def mean(self, eta: Pair) -> Units:
        alpha, beta = self.canonical(eta)
        return alpha / (alpha + beta)

    @widely
    def log_prob(self, eta: Pair, z: Units) -> Units:
        alpha, beta = eta
        kernel = (alpha - 1) * jnp.log(z) + (beta - 1) * jnp.log1p(-z)
        return kernel - log_beta(jnp.stack(eta, -1))

    @widely
    def entropy(self, eta: Pair) -> Units:
        return Dirichlet().entropy(jnp.stack(eta, -1))


def log_beta(eta: Array) -> Array:
    """sum_k log Gamma(eta_k) - log Gamma(sum_k eta_k), over the last axis."""
    return gammaln(eta).sum(-1) - gammaln(eta.sum(-1))
