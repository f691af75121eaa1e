"""Gamma units and the families that are gammas: exponential, Erlang, chi-squared."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln

from fsb.distributions.bernoulli import noise_dtype
from fsb.distributions.numeric import Numeric
from fsb.errors import FsbError
from fsb.types import Array, Eta

NEARLY_ZERO = -14.0  # log z below which the cdf is z^k / Gamma(k + 1) to float32's precision


@dataclass(frozen=True)
class Gamma(Numeric):
    """Independent gamma units with eta = (shape, scale), both [B, D...] and positive.

    Density z^(k - 1) e^(-z / mu) / (Gamma(k) mu^k) for shape k and scale mu. The draw is
    differentiable by implicit reparameterisation (Figurnov et al. 2018), down to shapes of 0.01,
    where most draws are below the least number of float32: they are put at that number, so that
    log_prob is finite. Estimators by the score are then biased; pathwise and fourier_exact are not.

    >>> import jax, jax.numpy as jnp
    >>> eta = (jnp.full((1, 2), 3.0), jnp.full((1, 2), 0.5))
    >>> Gamma().mean(eta).tolist(), bool((Gamma().sample(jax.random.key(0), eta) > 0).all())
    ([[1.5, 1.5]], True)
    """

    def shape_and_scale(self, eta: Eta) -> tuple[Array, Array]:
        """k and mu, [B, D...] each."""
        return eta

    def noise(self, key: Array, eta: Eta) -> Array:
        """A key for each unit, [B, D...]: the draw is by rejection and takes any number of bits."""
        return jax.random.split(key, self.shape_and_scale(eta)[0].shape)

    def from_noise(self, keys: Array, eta: Eta) -> Array:
        shape, scale = self.shape_and_scale(eta)
        z = (jnp.exp(log_gamma(keys, shape)) * scale).astype(scale.dtype)
        return jnp.maximum(z, jnp.finfo(z.dtype).tiny)

    def mean(self, eta: Eta) -> Array:
        shape, scale = self.shape_and_scale(eta)
        return shape * scale

    def log_prob(self, eta: Eta, z: Array) -> Array:
        shape, scale = self.shape_and_scale(eta)
        standard = (shape - 1) * jnp.log(z / scale) - z / scale
        return standard - gammaln(shape) - jnp.log(scale)

    def entropy(self, eta: Eta) -> Array:
        shape, scale = self.shape_and_scale(eta)
        return shape + jnp.log(scale) + gammaln(shape) + (1 - shape) * digamma(shape)


@dataclass(frozen=True)
class Exponential(Gamma):
    """Exponential units with eta = scale [B, D...], their mean: gammas of shape 1.

    >>> import jax.numpy as jnp
    >>> Exponential().mean(jnp.full((1, 1), 2.0)).tolist()
    [[2.0]]
    """

    def shape_and_scale(self, eta: Array) -> tuple[Array, Array]:
        return jnp.ones_like(eta), eta


@dataclass(frozen=True)
class Erlang(Gamma):
    """Erlang units with eta = scale [B, D...]: sums of ``shape`` exponential ones.

    Args:
      shape: how many, a positive integer.

    >>> import jax.numpy as jnp
    >>> Erlang(3).mean(jnp.full((1, 1), 2.0)).tolist()
    [[6.0]]
    """

    shape: int = 1

    def __post_init__(self):
        if self.shape < 1:
            raise FsbError(f"Erlang(shape={self.shape}): it must be a positive integer")

    def shape_and_scale(self, eta: Array) -> tuple[Array, Array]:
        return jnp.full_like(eta, self.shape), eta


@dataclass(frozen=True)
class ChiSquared(Gamma):
    """Chi-squared units with eta = degrees of freedom [B, D...], their mean; any positive number.

    >>> import jax.numpy as jnp
    >>> ChiSquared().mean(jnp.full((1, 1), 4.0)).tolist()
    [[4.0]]
    """

    def shape_and_scale(self, eta: Array) -> tuple[Array, Array]:
        return eta / 2, jnp.full_like(eta, 2)


def log_gamma(keys: Array, shape: Array) -> Array:
    """log of a draw from Gamma(shape, 1), from a key a number; differentiable once in the shape.

    In float32 at least: a draw itself may be too small for any precision.
    """
    wide = shape.astype(noise_dtype(shape))
    draw = jax.random.loggamma
    for _ in wide.shape:
        draw = jax.vmap(draw)
    fixed = jax.lax.stop_gradient(wide)
    return _implicit(jax.lax.stop_gradient(draw(keys, fixed)), wide)


@jax.custom_jvp
def _implicit(log_z: Array, shape: Array) -> Array:
    """log_z, with -(dP/dk) / (dP/dlog z) as its derivative in the shape k, P the cdf."""
    return log_z


@_implicit.defjvp
def _implicit_jvp(primals, tangents):
    (log_z, shape), (log_z_dot, shape_dot) = primals, tangents
    small = log_z < NEARLY_ZERO  # jax.random.gamma's own derivative ends where z underflows
    z = jnp.exp(jnp.where(small, 0, log_z))
    slope = jax.lax.random_gamma_grad(shape, z) / z
    slope = jnp.where(small, (digamma(shape + 1) - log_z) / shape, slope)
    return log_z, log_z_dot + slope * shape_dot
