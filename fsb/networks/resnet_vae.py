"""S-ResNets: variational autoencoders of residual blocks, with Boolean feature maps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from fsb.constraints import Count, choose
from fsb.distributions import Bernoulli
from fsb.errors import FsbError
from fsb.networks import _chain
from fsb.networks._chain import Chain
from fsb.networks.blocks import Down, Plan, Up
from fsb.networks.likelihoods import Likelihood
from fsb.networks.priors import INDEPENDENT
from fsb.types import Array, Evidence, Sample

NORMS = {norm: norm for norm in ("group", "batch", "none")}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class ResNetVAE(nn.Module):
    """x - z_1 - ... - z_L: a Markov chain up and down as in ``VAE``, of convolutions.

    A stochastic layer z_l [B, H, W, C] is a map of Boolean units. It replaces the feature map below
    it: no shortcut bypasses it. Generation runs through the same blocks in reverse, with transposed
    convolutions.

    The collection ``constants`` holds the data mean ("mean", shaped like one example). BatchNorms
    use the collection ``statistics`` if it is given, and the batch otherwise; if the collection is
    mutable, they store the moments that they measure.
    """

    shape: tuple[int, ...]
    likelihood: Likelihood
    latent: Any  # the distribution of every latent unit
    stem: int  # channels of the first convolution
    segments: tuple[tuple[Plan, ...], ...]  # the blocks between z_{l-1} and z_l
    maps: tuple[tuple[int, ...], ...]  # the shape of z_l, without the batch
    prior: nn.Module
    norm: str = "group"
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self):
        self.mean = self.variable("constants", "mean", jnp.zeros, self.shape)
        pixel = math.prod(self.shape[2:]) * self.likelihood.outputs
        channels = [units[-1] for units in self.maps]
        self.up = [
            Up(plans, above, 0 if i else self.stem, self.norm, self.remat, self.dtype)
            for i, (plans, above) in enumerate(zip(self.segments, channels, strict=True))
        ]
        self.down = [
            Down(plans, below, not i, self.norm, self.remat, self.dtype)
            for i, (plans, below) in enumerate(
                zip(self.segments, [pixel, *channels[:-1]], strict=True)
            )
        ]

    @property
    def mixes_examples(self) -> bool:
        """Whether the norms' statistics must be measured before evaluation."""
        return self.norm == "batch"

    @property
    def deterministic_layers(self) -> int:
        """Convolutions of all blocks up and down, two per block, as He et al. count."""
        return 4 * sum(map(len, self.segments))

    def __call__(self, x: Array, sample: Sample) -> Evidence:
        """The evidence of x [B, *shape] at one sample of its sites "z1" (bottom) to "zL"."""
        return _chain.evidence(self.chain, x, sample)

    def decode(self, z: Array) -> Array:
        """z_1 [B, H, W, C] -> the likelihood's outputs [B, *shape, outputs]."""
        return _chain.decode(self.chain, z)

    def generate(self, key: Array, count: int) -> Array:
        """The means E[x | z_1] at ``count`` draws of z_1 from the model, [count, *shape]."""
        return _chain.generate(self.chain, key, count)

    @property
    def chain(self) -> Chain:
        """The layers as functions, for use within ``apply``."""
        from_pixels, *from_maps = self.up
        return Chain(
            self.likelihood,
            self.mean.value,
            self.latent,
            up=[lambda x: from_pixels(x.reshape(*x.shape[:3], -1)), *from_maps],
            down=self.down,
            prior=self.prior,
        )


def sresnet(
    shape: tuple[int, ...],
    likelihood: Any,
    *,
    widths: tuple[Count, ...] = (32, 64, 128, 256),
    stacks: tuple[Count, ...] = (2, 2, 3, 3),
    blocks: Count = 2,
    stochastic: tuple[Count, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    low: float = -1.0,
    high: float = 1.0,
    prior: Literal["learned", "uniform"] = "learned",
    norm: Literal["group", "batch", "none"] = "group",
    remat: bool = False,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> ResNetVAE:
    """An S-ResNet; the defaults are S-ResNet-80-11-256.

    The encoder is a 3 x 3 convolution to ``widths[0]`` channels, followed by stacks of residual
    blocks with a stochastic layer after some of them and after the last. Every resolution but the
    first begins with a block of stride 2 (H pixels become ceil(H / 2)). A stochastic layer has as
    many channels as the feature map before it; its logits are a 1 x 1 convolution of that map. The
    decoder is the encoder in reverse, with transposed convolutions.

    The paper states the number of deterministic layers (convolutions of the blocks of encoder and
    decoder together) and of stochastic layers, the channels of the last, at most one downsampling
    per stack, and two blocks per stack. The widths, the positions of the stochastic layers, the
    norm, the prior, and the first and last convolutions are inferred or chosen here; those numbers
    leave little freedom.

    Source: Pervez, Cohen & Gavves 2020 (FouST), https://proceedings.mlr.press/v119/pervez20a.html,
    sections 6.2 and 6.3, appendix E.2; blocks: He et al. 2016, arXiv:1512.03385.

    Args:
      shape: of one image, (H, W) or (H, W, C), of any size.
      likelihood: p(x | z_1).
      widths: channels at each resolution, finest first.
      stacks: number of stacks at each resolution.
      blocks: number of residual blocks per stack.
      stochastic: the stacks that are followed by a stochastic layer, counted from 1, in ascending
        order; a stack listed twice is followed by two. There is always one more at the end.
      low, high: the two values of a unit.
      prior: of the top layer: "learned" (one logit per unit, initially 0) or "uniform".
      norm: "group", "none", or "batch", which makes the losses of a batch depend on each other, so
        that only local estimators can train it. There are no running averages: for evaluation the
        statistics are measured on a training batch and then fixed.
      remat: recompute each block in the backward pass: less memory, a third more time.
      dtype: of the computation within blocks, "float32" or "bfloat16"; parameters, logits,
        densities and the statistics of the norms are always float32.

    Raises:
      FsbError: if ``widths`` and ``stacks`` differ in length, ``stochastic`` lists a stack that
        does not exist, or another argument is out of its range.

    >>> from fsb.networks import GaussianLikelihood
    >>> model = sresnet((64, 64, 3), GaussianLikelihood())
    >>> model.deterministic_layers, len(model.maps), model.maps[-1]
    (80, 11, (8, 8, 256))
    """
    if len(shape) not in (2, 3):
        raise FsbError(f"model: images [H, W] or [H, W, C] are needed, not {list(shape)}")
    if blocks < 1 or min((*widths, *stacks), default=0) < 1:
        raise FsbError("model: widths, stacks and blocks must be at least 1")
    if len(widths) != len(stacks):
        raise FsbError(
            f"model.stacks={list(stacks)}: one number for each of model.widths={list(widths)}"
        )
    if list(stochastic) != sorted(stochastic) or not {*stochastic} <= {*range(1, sum(stacks) + 1)}:
        raise FsbError(
            f"model.stochastic={list(stochastic)}: stacks in ascending order, of 1 to {sum(stacks)}"
        )
    image = (*shape[:2], widths[0])
    segments: list[list[Plan]] = [[]]  # a new one begins above every stochastic layer
    maps = []
    for number, plans in enumerate(_stacks(image, widths, stacks, blocks), start=1):
        segments[-1] += plans
        image = plans[-1].above
        for _ in range(stochastic.count(number)):
            segments.append([])
            maps.append(image)
    maps.append(image)
    return ResNetVAE(
        shape,
        likelihood,
        Bernoulli(low, high),
        stem=widths[0],
        segments=tuple(map(tuple, segments)),
        maps=tuple(maps),
        prior=choose("model.prior", prior, INDEPENDENT)(maps[-1]),
        norm=choose("model.norm", norm, NORMS),
        remat=remat,
        dtype=choose("model.dtype", dtype, DTYPES),
    )


def _stacks(
    image: tuple[int, ...], widths: tuple[int, ...], stacks: tuple[int, ...], blocks: int
) -> Iterator[list[Plan]]:
    """The blocks of every stack; ``image`` [H, W, C] is the result of the first convolution."""
    for level, (channels, count) in enumerate(zip(widths, stacks, strict=True)):
        for stack in range(count):
            plans = []
            for block in range(blocks):
                stride = 2 if level and not stack and not block else 1
                height, width, _ = image
                above = (-(-height // stride), -(-width // stride), channels)
                plans.append(Plan(stride, image, above))
                image = above
            yield plans
