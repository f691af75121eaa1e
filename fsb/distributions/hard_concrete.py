"""Hard concrete units: gates that are exactly 0 or 1 with positive probability."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from fsb.distributions.bernoulli import Bernoulli, softplus
from fsb.distributions.numeric import Numeric, Parameter, along_last, widely
from fsb.errors import FsbError
from fsb.types import Array, PRNGKey, Units

NODES = 64  # of the quadrature for the mean and the entropy; relative error 1e-6 for beta <= 2


@dataclass(frozen=True)
class HardConcrete(Numeric):
    r"""Gates in [0, 1], exactly 0 or 1 with positive probability, with eta [B, D...] their logits.

    With u ~ U(0, 1), beta the temperature, and the stretched interval (low, high),

    .. math:: s = \sigma\left(\frac{\mathrm{logit}(u) + \eta}{\beta}\right), \qquad
        z = \min(1, \max(0, \text{low} + (\text{high} - \text{low})\, s)),

    which is differentiable in eta. ``log_prob`` is the logarithm of the mass at 0 and 1, and of the
    density between; ``entropy`` is its negative expectation. ``nonzero(eta)`` is P(z > 0), whose
    sum over the gates is the expected L0 norm.

    Source: Louizos, Welling & Kingma 2018 (Learning Sparse Neural Networks through L0
    Regularization), arXiv:1712.01312, eqs. 10-12.

    Args:
      temperature: beta > 0; at most 2 for an accurate mean and entropy.
      low, high: low < 0 and high > 1.

    Raises:
      FsbError: if an argument is out of range.

    >>> import jax.numpy as jnp
    >>> gates = HardConcrete()
    >>> eta = jnp.array([[-jnp.inf, 0.0, jnp.inf]])
    >>> [round(v, 3) for v in gates.nonzero(eta)[0].tolist()]
    [0.0, 0.832, 1.0]
    >>> [round(v, 3) for v in gates.mean(eta)[0].tolist()]
    [0.0, 0.5, 1.0]
    """

    temperature: float = 2 / 3
    low: float = -0.1
    high: float = 1.1

    def __post_init__(self):
        if not (0 < self.temperature < math.inf and self.low < 0 and self.high > 1):
            raise FsbError(
                f"{self}: the temperature must be positive and finite, low < 0 and high > 1"
            )

    @property
    def ends(self) -> tuple[float, float]:
        """logit(s) below which z is 0, and above which it is 1."""
        return math.log(-self.low / self.high), math.log((1 - self.low) / (self.high - 1))

    def noise(self, key: PRNGKey, eta: Units) -> Units:
        """u ~ U(0, 1), one per unit."""
        return Bernoulli().noise(key, eta)

    def from_noise(self, u: Units, eta: Units) -> Units:
        s = jax.nn.sigmoid(Bernoulli().perturb(u, eta) / self.temperature)
        return jnp.clip(self.low + (self.high - self.low) * s, 0, 1).astype(eta.dtype)

    def nonzero(self, eta: Units) -> Units:
        """P(z > 0) = sigmoid(eta - beta log(-low / high))."""
        return jax.nn.sigmoid(eta - self.temperature * self.ends[0])

    @widely
    def log_prob(self, eta: Parameter, z: Parameter) -> Parameter:
        eta = jnp.clip(eta, -1e30, 1e30)
        inside = jnp.clip(z, 1e-6, 1 - 1e-6)  # at the ends the mass counts
        x = jnp.log(inside - self.low) - jnp.log(self.high - inside)
        stretch = jnp.log(inside - self.low) + jnp.log(self.high - inside)
        between = self._density(x, eta) - stretch + math.log(self.high - self.low)
        zero, one = (self.temperature * end for end in self.ends)
        outside = jnp.where(z <= 0, -softplus(eta - zero), -softplus(one - eta))
        return jnp.where((z <= 0) | (z >= 1), outside, between)

    def _density(self, x: Array, eta: Array) -> Array:
        """The log-density of x = logit(s)."""
        y = self.temperature * x - eta
        return math.log(self.temperature) - softplus(y) - softplus(-y)

    @widely
    def mean(self, eta: Units) -> Units:
        density, x, weight = self._between(eta)
        z = self.low + (self.high - self.low) * jax.nn.sigmoid(x)
        one = jax.nn.sigmoid(eta - self.temperature * self.ends[1])
        return one + (weight * jnp.exp(density) * z).sum(-1)

    @widely
    def entropy(self, eta: Units) -> Units:
        eta = jnp.clip(eta, -1e30, 1e30)
        density, x, weight = self._between(eta)
        log = density - math.log(self.high - self.low) + softplus(x) + softplus(-x)
        ends = [self.log_prob(eta, jnp.full_like(eta, z)) for z in (0, 1)]
        masses = sum(jnp.exp(end) * end for end in ends)
        return -masses - (weight * jnp.exp(density) * log).sum(-1)

    def _between(self, eta: Array) -> tuple[Array, Array, Array]:
        """Gauss-Legendre nodes for logit(s) between the ends: log-density, nodes, weights."""
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        (start, stop), eta = self.ends, jnp.clip(eta, -1e30, 1e30)
        x = along_last(jnp.asarray(start + (stop - start) * (nodes + 1) / 2, eta.dtype), eta)
        weight = along_last(jnp.asarray((stop - start) / 2 * weights, eta.dtype), eta)
        return self._density(x, eta[..., None]), x, weight
