"""Binomial and geometric units: numbers of successes and of failures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Float

from fsb.distributions.bernoulli import TINY, Bernoulli, linear_log_prob, softplus
from fsb.distributions.numeric import Numeric, Parameter, along_last, widely
from fsb.errors import FsbError
from fsb.types import Array, Eta, PRNGKey, Units


@dataclass(frozen=True)
class Binomial(Numeric):
    """Independent numbers of successes in n trials, with eta [B, D...] the logit of a success.

    log p(z) = log C(n, z) + z eta - n log(1 + e^eta). A draw takes n random numbers per unit, and
    the entropy n + 1 terms.

    Args:
      trials: n, a positive integer.

    Raises:
      FsbError: if ``trials`` is less than 1.

    >>> import jax.numpy as jnp
    >>> Binomial(4).mean(jnp.zeros((1, 1))).item(), Binomial(2).support(jnp.zeros((1, 1))).tolist()
    (2.0, [0.0, 1.0, 2.0])
    """

    trials: int = 1
    reparameterized: ClassVar[bool] = False

    def __post_init__(self):
        if self.trials < 1:
            raise FsbError(f"Binomial(trials={self.trials}): it must be a positive integer")

    def noise(self, key: PRNGKey, eta: Units) -> Float[Array, "*batch n"]:
        """u ~ U(0, 1), one per trial: [B, D..., n]."""
        return Bernoulli().noise(key, jnp.broadcast_to(eta[..., None], (*eta.shape, self.trials)))

    def from_noise(self, u: Float[Array, "*batch n"], eta: Units) -> Units:
        successes = u < jax.nn.sigmoid(eta.astype(u.dtype))[..., None]
        return successes.sum(-1).astype(eta.dtype)

    def mean(self, eta: Units) -> Units:
        return self.trials * jax.nn.sigmoid(eta)

    @widely
    def log_prob(self, eta: Parameter, z: Parameter) -> Parameter:
        n = self.trials
        ways = gammaln(n + 1.0) - gammaln(z + 1) - gammaln(n - z + 1)
        return ways + n * linear_log_prob(z / n, eta)

    @widely
    def entropy(self, eta: Units) -> Units:
        log = self.log_prob(eta[..., None], along_last(self.support(eta), eta))
        return -(jnp.exp(log) * log).sum(-1)

    def support(self, eta: Eta) -> Float[Array, " k"]:
        """0, ..., n: [n + 1]."""
        return jnp.arange(self.trials + 1, dtype=eta.dtype)


@dataclass(frozen=True)
class Geometric(Numeric):
    """Independent numbers of failures before a success, with eta [B, D...] its logit.

    log p(z) = z log sigmoid(-eta) + log sigmoid(eta) for z = 0, 1, 2, ... The probability of
    success must be positive; counts beyond 2^24 are rounded in float32.

    >>> import jax.numpy as jnp
    >>> Geometric().mean(jnp.zeros((1, 1))).item()
    1.0
    """

    reparameterized: ClassVar[bool] = False

    def noise(self, key: PRNGKey, eta: Units) -> Units:
        """u ~ U(0, 1), one per unit."""
        return Bernoulli().noise(key, eta)

    def from_noise(self, u: Units, eta: Units) -> Units:
        """floor(log u / log sigmoid(-eta)): there are k failures or more if u <= P(failure)^k."""
        rate = jnp.maximum(softened(eta.astype(u.dtype)), TINY**4)
        z = jnp.floor(-jnp.log(u) / rate)
        return jax.lax.stop_gradient(z).astype(eta.dtype)

    def mean(self, eta: Units) -> Units:
        return jnp.exp(-eta)

    @widely
    def log_prob(self, eta: Parameter, z: Parameter) -> Parameter:
        return failure_log_prob(z, eta)

    @widely
    def entropy(self, eta: Units) -> Units:
        """-log p - E[z] log(1 - p)."""
        eta = jnp.clip(eta, -1e30, 80)
        small = eta < -15
        ratio = softened(eta) * jnp.exp(-jnp.maximum(eta, -15))
        ratio = jnp.where(small, 1 - jnp.exp(eta) / 2, ratio)
        return softplus(-eta) + ratio


def softened(eta: Array) -> Array:
    """log(1 + e^eta) = -log(1 - p), with a small relative error also where it is small."""
    return jnp.maximum(eta, 0) + jnp.log1p(jnp.exp(-jnp.abs(eta)))


@jax.custom_jvp
def failure_log_prob(z: Array, eta: Array) -> Array:
    """-z log(1 + e^eta) - log(1 + e^-eta), also for infinite eta."""
    eta = jnp.clip(eta, -1e30, 1e30)
    return -z * softened(eta) - softplus(-eta)


@failure_log_prob.defjvp
def _failure_log_prob_jvp(primals, tangents):
    (z, eta), (z_dot, eta_dot) = primals, tangents
    score = jax.nn.sigmoid(-eta) - z * jax.nn.sigmoid(eta)
    return failure_log_prob(z, eta), score * eta_dot - softened(jnp.clip(eta, -1e30, 1e30)) * z_dot
