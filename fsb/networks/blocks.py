"""Residual blocks of convolutions, and the stacks of them between two stochastic layers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from fsb.networks.convolutions import BatchMoments, batch_norm, convolve, group_norm, spread
from fsb.networks.dense import INIT
from fsb.types import Array, PyTree


class Weights(nn.Module):
    """The parameters of a convolution and of the norm after it.

    Attributes:
      features: output channels.
      size: height and width of the kernel.
      norm: "group", "batch", or "none" for a bias only.
      init: initializer of the kernel.
    """

    features: int
    size: int = 3
    norm: str = "none"
    init: Callable = INIT

    @nn.compact
    def __call__(self, channels: int) -> dict[str, Array]:
        """The kernel [size, size, channels, features] and vectors [features], all float32."""
        shape = (self.size, self.size, channels, self.features)
        out = {
            "kernel": self.param("kernel", self.init, shape),
            "bias": self.param("bias", nn.initializers.zeros_init(), (self.features,)),
        }
        if self.norm != "none":
            out[self.norm] = self.param("scale", nn.initializers.ones_init(), (self.features,))
        return out


def normed(
    weights: dict[str, Array], x: Array, stride: int = 1, fixed: BatchMoments | None = None
) -> tuple[Array, BatchMoments | None]:
    """The convolution and norm of x in its dtype, and the moments that a BatchNorm measured."""
    y = convolve(x, weights["kernel"].astype(x.dtype), stride)
    if "batch" in weights:
        return batch_norm(y, weights["batch"], weights["bias"], fixed)
    if "group" in weights:
        return group_norm(y, weights["group"], weights["bias"]), None
    return y + weights["bias"].astype(x.dtype)[None, None, None], None


def measured(module: nn.Module, moments: PyTree = None) -> PyTree:
    """The moments that a module's BatchNorms must use, or None to use those of the batch.

    They come from the collection "statistics". If that is mutable, the given ``moments`` are
    stored in it first.
    """
    if moments is not None and module.is_mutable_collection("statistics"):
        module.put_variable("statistics", "moments", moments)
    return module.get_variable("statistics", "moments")


# Jitted separately, so that equal blocks of a deep network are traced once.
@functools.partial(jax.jit, static_argnames=("stride", "size", "remat"))
def residual(
    weights: dict[str, dict[str, Array]],
    x: Array,
    stride: int,
    size: tuple[int, int] | None,
    remat: bool,
    fixed: dict[str, BatchMoments] | None = None,
) -> tuple[Array, dict[str, BatchMoments | None]]:
    """relu(shortcut(x) + N(C(relu(N(C(x)))))), with convolutions C and norms N.

    Args:
      weights: "first", "second" and, if the shape changes, "shortcut", a 1 x 1 convolution.
      stride: of the first convolution and of the shortcut.
      size: None, or for a transposed block the height and width of the result, to which the second
        convolution and the shortcut upsample.
      remat: recompute the block in the backward pass.
      fixed: moments for each BatchNorm to use instead of the batch's.

    Returns:
      The result, and the moments that each norm measured.
    """
    up = lambda h: h if size is None else spread(h, size)
    of = (fixed or {}).get

    def block(weights: dict[str, dict[str, Array]], x: Array) -> tuple[Array, dict]:
        moments = {}
        h, moments["first"] = normed(weights["first"], x, stride, of("first"))
        h, moments["second"] = normed(weights["second"], up(nn.relu(h)), 1, of("second"))
        if "shortcut" in weights:
            x, moments["shortcut"] = normed(weights["shortcut"], up(x), stride, of("shortcut"))
        return nn.relu(x + h), moments

    return (computed_anew(block) if remat else block)(weights, x)


def computed_anew(block: Callable[[PyTree, Array], Any]) -> Callable[[PyTree, Array], Any]:
    """``block(weights, x) -> (image, anything)``, saving only its arguments for the backward pass.

    Like ``jax.checkpoint``, but it also works on CPU, where the compiler drops the barrier between
    the two computations and merges them. Here the second one depends on the cotangent. Reverse mode
    only.
    """

    def backward(arguments, g):
        weights, x = arguments
        zero = jnp.minimum(jnp.abs(g[0][:, :1, :1, :1]), 0)  # the compiler cannot know that it is 0
        _, pull = jax.vjp(block, weights, x + zero)
        return pull(g)

    run = jax.custom_vjp(block)
    run.defvjp(lambda weights, x: (block(weights, x), (weights, x)), backward)
    return run


class Block(nn.Module):
    """The basic residual block, or its transpose.

    If the shape changes, the shortcut is a 1 x 1 convolution with a norm.

    Source: He et al. 2016 (Deep Residual Learning), arXiv:1512.03385, Figure 5 (left), option B.

    Attributes:
      features: output channels.
      stride: of the first convolution.
      size: None, or for a transposed block the height and width of the result: those of x, or twice
        those (minus 1 if odd). Its last convolution changes channels and size.
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
        h, moments = residual(weights, x, self.stride, self.size, self.remat, measured(self))
        if self.norm == "batch":
            measured(self, moments)
        return h


class Plan(NamedTuple):
    """One residual block: channels and stride, and the images [H, W, C] below and above it."""

    stride: int
    below: tuple[int, ...]
    above: tuple[int, ...]


class Up(nn.Module):
    """Residual blocks, then a 1 x 1 convolution to the logits of a stochastic layer, in float32.

    Attributes:
      plans: of the blocks, bottom first; may be empty.
      stem: channels of a 3 x 3 convolution before the blocks; 0 for none.
    """

    plans: tuple[Plan, ...]
    channels: int
    stem: int
    norm: str
    remat: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, h: Array) -> Array:
        h = h.astype(self.dtype)
        if self.stem:
            weights = Weights(self.stem, 3, self.norm, name="stem")(h.shape[-1])
            h, moments = normed(weights, h, 1, measured(self))
            measured(self, moments)
            h = nn.relu(h)
        for i, plan in enumerate(self.plans):
            block = Block(
                plan.above[-1], plan.stride, None, self.norm, self.remat, name=f"block_{i}"
            )
            h = block(h)
        return normed(Weights(self.channels, 1, name="eta")(h.shape[-1]), h.astype(jnp.float32))[0]


class Down(nn.Module):
    """The blocks of an ``Up`` transposed and in reverse, then a convolution to ``channels``.

    Attributes:
      plans: of the blocks of the ``Up``, bottom first.
      pixels: whether the result is the likelihood's outputs. If so, the last convolution is 3 x 3
        and starts at 0, so that an untrained decoder gives the data mean; otherwise it is 1 x 1, to
        logits. It is float32.
    """

    plans: tuple[Plan, ...]
    channels: int
    pixels: bool
    norm: str
    remat: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, h: Array) -> Array:
        h = h.astype(self.dtype)
        for i, plan in reversed(list(enumerate(self.plans))):
            height, width, channels = plan.below
            block = Block(channels, 1, (height, width), self.norm, self.remat, name=f"block_{i}")
            h = block(h)
        size, init = (3, nn.initializers.zeros_init()) if self.pixels else (1, INIT)
        weights = Weights(self.channels, size, init=init, name="out")(h.shape[-1])
        return normed(weights, h.astype(jnp.float32))[0]
