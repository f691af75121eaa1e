"""Gamma units and their special cases: exponential, Erlang and chi-squared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln
from jaxtyping import Key

from fsb.distributions.bernoulli import noise_dtype
from fsb.distributions.numeric import Numeric, Pair, widely
from fsb.errors import FsbError
from fsb.types import Array, Eta, PRNGKey, Units

NEARLY_ZERO = -14.0  # log z below which the cdf is z^k / Gamma(k + 1) in float32


@dataclass(frozen=True)
class Gamma(Numeric):
    """Independent gamma units with eta = (shape, scale), both [B, D...] and positive.

    The density is z^(k - 1) e^(-z / mu) / (Gamma(k) mu^k) for shape k and scale mu. Samples are
    differentiable by implicit reparameterisation, down to shapes of 0.01. There most samples
    underflow float32; they are set to the smallest positive number so that ``log_prob`` is finite.
    Score-function estimators are then biased; ``pathwise`` and ``fourier_exact`` are not.

    Source: Figurnov, Mohamed & Mnih 2018 (Implicit Reparameterization Gradients), arXiv:1805.08498.

    >>> import jax, jax.numpy as jnp
    >>> eta = (jnp.full((1, 2), 3.0), jnp.full((1, 2), 0.5))
    >>> Gamma().mean(eta).tolist(), bool((Gamma().sample(jax.random.key(0), eta) > 0).all())
    ([[1.5, 1.5]], True)
    """

    parameters: ClassVar[tuple[str, ...]] = ("shape", "scale")

    def shape_and_scale(self, eta: Eta) -> Pair:
        """k and mu, [B, D...] each."""
        return self.canonical(eta)

    def noise(self, key: PRNGKey, eta: Eta) -> Key[Array, "*batch"]:
        """One key per unit, [B, D...]: rejection sampling uses a variable number of random bits."""
        return jax.random.split(key, self.shape_and_scale(eta)[0].shape)

    def from_noise(self, keys: Key[Array, "*batch"], eta: Eta) -> Units:
        shape, scale = self.shape_and_scale(eta)
        z = (jnp.exp(log_gamma(keys, shape)) * scale).astype(scale.dtype)
        return jnp.maximum(z, jnp.finfo(z.dtype).tiny)

    def mean(self, eta: Eta) -> Units:
        shape, scale = self.shape_and_scale(eta)
        return shape * scale

    @widely
    def log_prob(self, eta: Eta, z: Units) -> Units:
        shape, scale = self.shape_and_scale(eta)
        standard = (shape - 1) * jnp.log(z / scale) - z / scale
        return standard - gammaln(shape) - jnp.log(scale)

    @widely
    def entropy(self, eta: Eta) -> Units:
        shape, scale = self.shape_and_scale(eta)
        return shape + jnp.log(scale) + gammaln(shape) + (1 - shape) * digamma(shape)


@dataclass(frozen=True)
class Exponential(Gamma):
    """Exponential units with eta = scale [B, D...], which is their mean: gammas of shape 1.

    >>> import jax.numpy as jnp
    >>> Exponential().mean(jnp.full((1, 1), 2.0)).tolist()
    [[2.0]]
    """

    parameters: ClassVar[tuple[str, ...]] = ()

    def shape_and_scale(self, eta: Units) -> Pair:
        return jnp.ones_like(eta), eta


@dataclass(frozen=True)
class Erlang(Gamma):
    """Erlang units with eta = scale [B, D...]: sums of ``shape`` exponential variables.

    Args:
      shape: number of summands, a positive integer.

    Raises:
      FsbError: if ``shape`` is less than 1.

    >>> import jax.numpy as jnp
    >>> Erlang(3).mean(jnp.full((1, 1), 2.0)).tolist()
    [[6.0]]
    """

    shape: int = 1
    parameters: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        if self.shape < 1:
            raise FsbError(f"Erlang(shape={self.shape}): it must be a positive integer")

    def shape_and_scale(self, eta: Units) -> Pair:
        return jnp.full_like(eta, self.shape), eta


@dataclass(frozen=True)
class ChiSquared(Gamma):
    """Chi-squared units with eta = degrees of freedom [B, D...], which is their mean.

    The degrees of freedom need not be integers.

    >>> import jax.numpy as jnp
    >>> ChiSquared().mean(jnp.full((1, 1), 4.0)).tolist()
    [[4.0]]
    """

    parameters: ClassVar[tuple[str, ...]] = ()

    def shape_and_scale(self, eta: Units) -> Pair:
        return eta / 2, jnp.full_like(eta, 2)


def log_gamma(keys: Array, shape: Array) -> Array:
    """Samples the log of a Gamma(shape, 1) variable, one key each; differentiable once in shape.

    Computed in at least float32, as the variable itself may underflow.
    """
    wide = shape.astype(noise_dtype(shape))
    draw = jax.random.loggamma
    for _ in wide.shape:
        draw = jax.vmap(draw)
    fixed = jax.lax.stop_gradient(wide)
    return _implicit(jax.lax.stop_gradient(draw(keys, fixed)), wide)


@jax.custom_jvp
def _implicit(log_z: Array, shape: Array) -> Array:
    """log_z, with the derivative -(dP/dk) / (dP/dlog z) in the shape k, where P is the cdf."""
    return log_z


@_implicit.defjvp
def _implicit_jvp(primals, tangents):
    (log_z, shape), (log_z_dot, shape_dot) = primals, tangents
    small = log_z < NEARLY_ZERO  # jax.random.gamma is not differentiable where z underflows
    z = jnp.exp(jnp.where(small, 0, log_z))
    slope = jax.lax.random_gamma_grad(shape, z) / z
    slope = jnp.where(small, (digamma(shape + 1) - log_z) / shape, slope)
    return log_z, log_z_dot + slope * shape_dot
