"""Residual blocks of convolutions and of transposed convolutions, on images [B, H, W, C]."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from fsb.networks.vae import INIT
from fsb.types import Array


def convolve(x: Array, kernel: Array, stride: int = 1) -> Array:
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


def patches(x: Array, size: int, stride: int) -> Array:
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


def spread(x: Array, size: tuple[int, int]) -> Array:
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


def group_norm(x: Array, scale: Array, bias: Array) -> Array:
    """GroupNorm of 8 groups of channels, or of 4, 2 or 1 where 8 do not divide them.

    Its statistics are float32. Like any norm here it does not mix the examples of a batch, for
    their losses must be independent.

    Source: Wu & He 2018 (Group Normalization).
    """
    groups = math.gcd(x.shape[-1], 8)
    h = x.astype(jnp.float32).reshape(x.shape[0], -1, groups, x.shape[-1] // groups)
    h = h - h.mean((1, 3), keepdims=True)
    h = h * jax.lax.rsqrt((h * h).mean((1, 3), keepdims=True) + 1e-6)
    scale, bias = (a[None, None, None] for a in (scale, bias))
    return (h.reshape(x.shape) * scale + bias).astype(x.dtype)


class Weights(nn.Module):
    """The parameters of a convolution, and of the norm of its result.

    Attributes:
      features: channels of the result.
      size: of the kernel.
      norm: "group", or "none" for a bias alone.
      init: of the kernel.
    """

    features: int
    size: int = 3
    norm: str = "none"
    init: Callable = INIT

    @nn.compact
    def __call__(self, channels: int) -> dict[str, Array]:
        """Kernel [size, size, channels, features] and the rest [features], float32."""
        shape = (self.size, self.size, channels, self.features)
        out = {
            "kernel": self.param("kernel", self.init, shape),
            "bias": self.param("bias", nn.initializers.zeros_init(), (self.features,)),
        }
        if self.norm == "group":
            out["scale"] = self.param("scale", nn.initializers.ones_init(), (self.features,))
        return out


def normed(weights: dict[str, Array], x: Array, stride: int = 1) -> Array:
    """The convolution and its norm, computed as x's dtype."""
    y = convolve(x, weights["kernel"].astype(x.dtype), stride)
    if "scale" in weights:
        return group_norm(y, weights["scale"], weights["bias"])
    return y + weights["bias"].astype(x.dtype)[None, None, None]


# Compiled as units of their own so that equal blocks of a deep network are traced once.
@functools.partial(jax.jit, static_argnames=("stride", "size", "remat"))
def residual(
    weights: dict[str, dict[str, Array]],
    x: Array,
    stride: int,
    size: tuple[int, int] | None,
    remat: bool,
) -> Array:
    """relu(shortcut(x) + N(C(relu(N(C(x)))))), with convolutions C and norms N.

    Args:
      weights: "first", "second" and, where the shape changes, "shortcut", of a 1 x 1 convolution.
      stride: of the first convolution and of the shortcut.
      size: makes it a transposed block: height and width of the result, to which the second
        convolution and the shortcut spread.
      remat: compute it anew in the backward pass.
    """
    up = lambda h: h if size is None else spread(h, size)

    def block(weights: dict[str, dict[str, Array]], x: Array) -> Array:
        h = nn.relu(normed(weights["first"], x, stride))
        h = normed(weights["second"], up(h))
        if "shortcut" in weights:
            x = normed(weights["shortcut"], up(x), stride)
        return nn.relu(x + h)

    return (jax.checkpoint(block) if remat else block)(weights, x)


class Block(nn.Module):
    """The basic residual block, or that block read backwards and transposed.

    A shortcut around a change of shape is a 1 x 1 convolution with its norm.

    Source: He et al. 2016 (Deep Residual Learning), Figure 5 (left) and option B.

    Attributes:
      features: channels of the result.
      stride: of the first convolution.
      size: height and width of the result of a transposed block, those of x or twice as much (less
        one where odd); it changes channels and size in its last convolution. None for a plain one.
      norm, remat: as in ``Weights`` and ``residual``.
    """

    features: int
    stride: int = 1
    size: tuple[int, int] | None = None
    norm: str = "group"
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        inner = self.features if self.size is None else channels
        weights = {
            "first": Weights(inner, 3, self.norm, name="first")(channels),
            "second": Weights(self.features, 3, self.norm, name="second")(inner),
        }
        resized = self.stride != 1 or self.size not in (None, x.shape[1:3])
        if resized or channels != self.features:
            weights["shortcut"] = Weights(self.features, 1, self.norm, name="shortcut")(channels)
        return residual(weights, x, self.stride, self.size, self.remat)
