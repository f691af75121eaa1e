"""Convolutions of images [B, H, W, C], their adjoints, and norms."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Float

from fsb.types import Array


def convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "size size c d"], stride: int = 1
) -> Float[Array, "b h_out w_out d"]:
    r"""The convolution about every ``stride``-th pixel, zeros around the image.

    .. math:: y_{ij} = \sum_{kl} x_{si + k - r,\; sj + l - r}\, K_{kl}, \qquad 2 r + 1 = \text{size}

    Args:
      x: [B, H, W, C].
      kernel: [size, size, C, D], of odd size.
      stride: s; the result is [B, ceil(H / s), ceil(W / s), D].

    >>> import jax.numpy as jnp
    >>> convolve(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    if jax.default_backend() == "cpu":
        return patches(x, kernel.shape[0], stride) @ kernel.reshape(-1, kernel.shape[-1])
    pad = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def patches(
    x: Float[Array, "b h w c"], size: int, stride: int
) -> Float[Array, "b h_out w_out {size**2}*c"]:
    """The neighbourhoods of the pixels, [B, H', W', size * size * C].

    On a CPU a product with them is how to convolve: the gradients of XLA's own convolution take
    some twenty times as long there where it stands in a compiled loop, as every train step does.
    """
    if size == 1:
        return x[:, ::stride, ::stride]
    pad, (height, width) = size // 2, x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    at = [(i, j) for i in range(size) for j in range(size)]
    return jnp.concatenate(
        [x[:, i : i + height : stride, j : j + width : stride] for i, j in at], -1
    )


def spread(
    x: Float[Array, "b h w c"], size: tuple[int, int]
) -> Float[Array, "b {size[0]} {size[1]} c"]:
    """The pixels of x at every second place of an image of ``size``, zeros between.

    Convolved, it is the transposed convolution of stride 2, and of exactly this size: the adjoint
    of one that takes images of ``size`` to those of x's, ceil(size / 2).

    >>> import jax.numpy as jnp
    >>> spread(jnp.ones((1, 2, 1, 1)), (3, 2))[0, :, :, 0].tolist()
    [[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    """
    if x.shape[1:3] == size:
        return x
    rows, columns = (want - (2 * have - 1) for want, have in zip(size, x.shape[1:3], strict=True))
    zero = jnp.zeros((), x.dtype)
    return jax.lax.pad(x, zero, ((0, 0, 0), (0, rows, 1), (0, columns, 1), (0, 0, 0)))


def group_norm(
    x: Float[Array, "b h w c"], scale: Float[Array, " c"], bias: Float[Array, " c"]
) -> Float[Array, "b h w c"]:
    """GroupNorm of 8 groups of channels, or of 4, 2 or 1 where 8 do not divide them.

    Its statistics are float32. It does not mix the examples of a batch.

    Source: Wu & He 2018 (Group Normalization), arXiv:1803.08494.
    """
    groups = math.gcd(x.shape[-1], 8)
    h = x.astype(jnp.float32).reshape(x.shape[0], -1, groups, x.shape[-1] // groups)
    h = h - h.mean((1, 3), keepdims=True)
    h = h * jax.lax.rsqrt((h * h).mean((1, 3), keepdims=True) + 1e-6)
    scale, bias = (a[None, None, None] for a in (scale, bias))
    return (h.reshape(x.shape) * scale + bias).astype(x.dtype)


BatchMoments = tuple[Float[Array, " c"], Float[Array, " c"]]
"""Mean and variance of the channels of a batch."""


def batch_norm(
    x: Float[Array, "b h w c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    fixed: BatchMoments | None = None,
) -> tuple[Float[Array, "b h w c"], BatchMoments]:
    """BatchNorm: the result, and mean and variance [C] of the channels, float32.

    Args:
      fixed: mean and variance to take in place of the batch's, which mix its examples.

    Source: Ioffe & Szegedy 2015 (Batch Normalization), arXiv:1502.03167, Algorithm 1.
    """
    h = x.astype(jnp.float32)
    mean, variance = fixed or (h.mean((0, 1, 2)), h.var((0, 1, 2)))
    factor = scale * jax.lax.rsqrt(variance + 1e-5)
    out = (h - mean[None, None, None]) * factor[None, None, None] + bias[None, None, None]
    return out.astype(x.dtype), (mean, variance)
