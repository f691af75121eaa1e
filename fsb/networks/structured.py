"""Structured output prediction: the lower half of an image given its upper half."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from fsb.errors import FsbError
from fsb.networks._chain import outputs_from
from fsb.networks.dense import MLP, Activation, dense
from fsb.networks.likelihoods import Likelihood
from fsb.types import Array, Evidence, Sample


class StructuredPrediction(nn.Module):
    r"""upper - z_1 - ... - z_L - lower: a chain of stochastic layers without an inference network.

    .. math:: p(y \mid u) = \sum_z p(y \mid z_L) \, p(z_L \mid z_{L-1}) \cdots p(z_1 \mid u)

    for the lower half y of an image and its upper half u. The units are sampled from the model
    itself, so the log weight of a sample is log p(y | z_L): the bounds of ``fsb.objectives`` are
    those of the papers, log mean_m p(y | z_m), and there is no KL term.

    The collection ``constants`` holds the data mean ("mean", shaped like one example), which
    centres the input and sets the offset of the output.

    Source: Raiko et al. 2015, arXiv:1406.2989; Gu et al. 2016 (MuProp), arXiv:1511.05176,
    section 5.1.
    """

    shape: tuple[int, ...]  # of the whole image
    likelihood: Likelihood
    latent: Any  # the distribution of every unit
    units: tuple[int, ...]  # the shape of a stochastic layer's eta, without the batch
    layers: int
    mlp: Callable[[int], MLP]  # makes one, given its number of outputs

    def setup(self):
        self.mean = self.variable("constants", "mean", jnp.zeros, self.shape)
        self.steps = [self.mlp(math.prod(self.units)) for _ in range(self.layers)]
        lower = (self.shape[0] - self.half, *self.shape[1:])
        self.out = self.mlp(math.prod(lower) * self.likelihood.outputs)

    @property
    def half(self) -> int:
        """Rows of the upper half; the lower half has one more if their number is odd."""
        return self.shape[0] // 2

    @property
    def deterministic_layers(self) -> int:
        """The number of hidden layers in all MLPs."""
        return (self.layers + 1) * self.mlp(1).hidden_layers

    def __call__(self, x: Array, sample: Sample) -> Evidence:
        """The evidence of the lower half of x [B, *shape], given the upper, at one sample."""
        upper, lower = x[:, : self.half], x[:, self.half :]
        h = upper - self.mean.value[None, : self.half]
        for layer, step in enumerate(self.steps, start=1):
            eta = step(h.reshape(x.shape[0], -1)).reshape(-1, *self.units)
            h = sample(f"z{layer}", self.latent, eta)
        numbers = self.out(h.reshape(x.shape[0], -1))
        outputs = outputs_from(self.likelihood, numbers, self.mean.value[self.half :])
        return Evidence(
            likelihood=self.likelihood.log_prob(outputs, lower),
            prior=(),
            entropy=(),
            posterior=(),
            mean=jnp.concatenate([upper, self.likelihood.mean(outputs)], 1),
        )


def structured(
    shape: tuple[int, ...],
    likelihood: Any,
    *,
    layers: int = 2,
    width: int = 200,
    hidden: int = 0,
    hidden_width: int | None = None,
    activation: Activation = "tanh",
    values: int = 2,
    low: float = 0.0,
    high: float = 1.0,
) -> StructuredPrediction:
    """A network from the upper half of an image to the lower; 392-200-200-392 for 28 x 28 pixels.

    With ``data=faces`` the halves are a person's average face and one of that person's faces.

    Args:
      shape: of one image, such as (28, 28), with at least two rows.
      likelihood: p(lower | z_L).
      layers, width, hidden, hidden_width, activation, values, low, high: as in ``vae``; ``hidden``
        counts layers.

    Raises:
      FsbError: if the image has a single row, or a size is out of its range.

    >>> from fsb.networks import BernoulliLikelihood
    >>> structured((28, 28), BernoulliLikelihood(), layers=3).half
    14
    """
    if shape[0] < 2:
        raise FsbError(f"model: an image of {shape[0]} row has no two halves")
    parts = dense(layers, width, hidden, hidden_width, activation, values, low, high)
    return StructuredPrediction(shape, likelihood, parts.latent, parts.units, layers, parts.mlp)
