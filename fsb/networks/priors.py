"""Priors p(z_L) of the top latent layer."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fsb.types import Array, PRNGKey


class Learned(nn.Module):
    """Independent units whose logits are parameters, from 0.

    Attributes:
      units: shape of the logits of one example: (D,), or (D, K) for K-valued units.
    """

    units: tuple[int, ...]

    def setup(self):
        self.logits = self.param("logits", nn.initializers.zeros_init(), self.units)

    def __call__(self, z: Float[Array, batch * units]) -> Float[Array, batch * units]:
        """eta of p(z): [B, *units]."""
        return jnp.broadcast_to(self.logits[None], (z.shape[0], *self.units))

    def sample(self, key: PRNGKey, dist: Any, count: int) -> Float[Array, {count} * units]:
        return dist.sample(key, jnp.broadcast_to(self.logits[None], (count, *self.units)))


class Uniform(nn.Module):
    """Independent units, every value equally likely: logits fixed at 0."""

    units: tuple[int, ...]

    def __call__(self, z: Float[Array, batch * units]) -> Float[Array, batch * units]:
        return jnp.zeros((z.shape[0], *self.units), z.dtype)

    def sample(self, key: PRNGKey, dist: Any, count: int) -> Float[Array, {count} * units]:
        return dist.sample(key, jnp.zeros((count, *self.units)))


class Autoregressive(nn.Module):
    r"""Each unit given those before it: eta_i = c_i + sum_{j<i} W_ij z_j.

    All eta of a given z in one masked product; a draw takes D steps.

    Source: Gregor et al. 2014 (Deep AutoRegressive Networks), arXiv:1310.8499, eq. 4: the latent
    layer of fDARN.
    """

    units: tuple[int, ...]

    def setup(self):
        self.bias = self.param("bias", nn.initializers.zeros_init(), self.units)
        size = math.prod(self.units)
        self.kernel = self.param("kernel", nn.initializers.zeros_init(), (size, size))

    def __call__(self, z: Float[Array, batch * units]) -> Float[Array, batch * units]:
        flat = z.reshape(z.shape[0], -1)
        unit = jnp.arange(flat.shape[1]) // (flat.shape[1] // self.units[0])
        before = unit[:, None] < unit[None]
        eta = flat @ jnp.where(before, self.kernel, 0)
        return eta.reshape(-1, *self.units) + self.bias[None]

    def sample(self, key: PRNGKey, dist: Any, count: int) -> Float[Array, {count} * units]:
        """Exactly, unit by unit: after step i the first i + 1 are final."""
        noise = dist.noise(key, jnp.zeros((count, *self.units)))
        start = dist.from_noise(noise, jnp.zeros((count, *self.units)))
        step = lambda _, z: dist.from_noise(noise, self(z))
        return jax.lax.fori_loop(0, self.units[0], step, start)


INDEPENDENT = {"learned": Learned, "uniform": Uniform}
PRIORS = {**INDEPENDENT, "autoregressive": Autoregressive}
