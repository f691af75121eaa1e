"""Multivariate Gaussian units."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Float

from fsb.distributions.bernoulli import noise_dtype
from fsb.distributions.numeric import Numeric, require_tuple, widely
from fsb.types import Array, PRNGKey, Units, Vectors

LocationAndFactor = tuple[Float[Array, "*#batch k"], Float[Array, "*#batch k k"]]


@dataclass(frozen=True)
class MultivariateNormal(Numeric):
    """Independent Gaussian vectors with eta = (loc [B, D..., K], factor [B, D..., K, K]).

    z [B, D..., K] = loc + factor e, with covariance factor factor^T. Only the lower triangle of the
    factor is used; its diagonal must be positive.

    >>> import jax.numpy as jnp
    >>> eta = (jnp.zeros((1, 1, 2)), jnp.eye(2)[None, None])
    >>> [round(v, 4) for v in MultivariateNormal().entropy(eta)[0].tolist()]
    [2.8379]
    """

    parameters = ("loc", "factor")

    def canonical(self, eta: LocationAndFactor) -> LocationAndFactor:
        """eta with both parameters expanded to the shape of the units."""
        require_tuple(eta, self.parameters)
        loc, factor = eta
        k = loc.shape[-1]
        units = jnp.broadcast_shapes(loc.shape[:-1], factor.shape[:-2])
        return jnp.broadcast_to(loc, (*units, k)), jnp.broadcast_to(factor, (*units, k, k))

    def noise(self, key: PRNGKey, eta: LocationAndFactor) -> Vectors:
        """Standard normal noise, [B, D..., K]."""
        loc, _ = self.canonical(eta)
        return jax.random.normal(key, loc.shape, noise_dtype(loc))

    def from_noise(self, noise: Vectors, eta: LocationAndFactor) -> Vectors:
        loc, factor = self.canonical(eta)
        return loc + (jnp.tril(factor) @ noise.astype(loc.dtype)[..., None])[..., 0]

    def standardize(self, eta: LocationAndFactor, z: Vectors) -> Vectors:
        """The noise that produces z."""
        loc, factor = self.canonical(eta)
        solve = jax.scipy.linalg.solve_triangular
        wide = noise_dtype(loc)
        return solve(factor.astype(wide), (z - loc).astype(wide)[..., None], lower=True)[..., 0]

    def mean(self, eta: LocationAndFactor) -> Vectors:
        return self.canonical(eta)[0]

    @widely
    def log_prob(self, eta: LocationAndFactor, z: Vectors) -> Units:
        noise = self.standardize(eta, z)
        square = (noise * noise + math.log(2 * math.pi)).sum(-1)
        return -0.5 * square - log_diagonal(eta[1])

    @widely
    def entropy(self, eta: LocationAndFactor) -> Units:
        k = eta[0].shape[-1]
        return 0.5 * k * (1 + math.log(2 * math.pi)) + log_diagonal(eta[1])


def log_diagonal(factor: Array) -> Array:
    """Half the log-determinant of the covariance."""
    return jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)).sum(-1)
