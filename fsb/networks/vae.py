"""Variational autoencoders of dense layers, with any number of stochastic layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from fsb.constraints import choose
from fsb.networks import _chain
from fsb.networks._chain import Chain
from fsb.networks.dense import MLP, Activation, dense
from fsb.networks.likelihoods import Likelihood
from fsb.networks.priors import PRIORS
from fsb.types import Array, Evidence, Sample


class VAE(nn.Module):
    """x - z_1 - ... - z_L: a Markov chain up (inference) and down (generation).

    It consists of q(z_l | z_{l-1}) with z_0 = x - mean, p(z_{l-1} | z_l), and a prior p(z_L); each
    conditional is an ``MLP``. Latent values enter the next layer unchanged, in the encoding of
    ``latent``.

    The collection ``constants`` holds the data mean ("mean", shaped like one example), which
    centres the input and sets the offset of the output.

    Source: Tucker et al. 2017 (REBAR), arXiv:1703.07370, the sigmoid belief networks of the
    experiments.
    """

    shape: tuple[int, ...]
    likelihood: Likelihood
    latent: Any  # the distribution of every latent unit
    units: tuple[int, ...]  # the shape of a stochastic layer's eta, without the batch
    prior: nn.Module
    layers: int
    mlp: Callable[[int], MLP]  # makes one, given its number of outputs

    def setup(self):
        pixels, units = math.prod(self.shape), math.prod(self.units)
        self.mean = self.variable("constants", "mean", jnp.zeros, self.shape)
        self.up = [self.mlp(units) for _ in range(self.layers)]
        below = [pixels * self.likelihood.outputs] + [units] * (self.layers - 1)
        self.down = [self.mlp(outputs) for outputs in below]

    @property
    def deterministic_layers(self) -> int:
        """The number of hidden layers in all MLPs, up and down."""
        return 2 * self.layers * self.mlp(1).hidden_layers

    def __call__(self, x: Array, sample: Sample) -> Evidence:
        """The evidence of x [B, *shape] at one sample of its sites "z1" (bottom) to "zL"."""
        return _chain.evidence(self.chain, x, sample)

    def decode(self, z: Array) -> Array:
        """z_1 [B, *units] -> the likelihood's outputs [B, *shape, outputs]."""
        return _chain.decode(self.chain, z)

    def generate(self, key: Array, count: int) -> Array:
        """The means E[x | z_1] at ``count`` draws of z_1 from the model, [count, *shape]."""
        return _chain.generate(self.chain, key, count)

    @property
    def chain(self) -> Chain:
        """The layers as functions, for use within ``apply``."""
        numbers = lambda mlp: lambda h: mlp(h.reshape(h.shape[0], -1))
        eta = lambda mlp: lambda h: numbers(mlp)(h).reshape(-1, *self.units)
        to_outputs, *to_eta = self.down
        return Chain(
            self.likelihood,
            self.mean.value,
            self.latent,
            up=[eta(mlp) for mlp in self.up],
            down=[numbers(to_outputs), *(eta(mlp) for mlp in to_eta)],
            prior=self.prior,
        )


def vae(
    shape: tuple[int, ...],
    likelihood: Any,
    *,
    layers: int = 2,
    width: int = 200,
    hidden: int = 2,
    hidden_width: int | None = None,
    activation: Activation = "tanh",
    values: int = 2,
    low: float = -1.0,
    high: float = 1.0,
    prior: Literal["learned", "uniform", "autoregressive"] = "learned",
) -> VAE:
    """The VAE of the papers' experiments; the defaults are Tucker's nonlinear Boolean net.

    Args:
      shape: of one example, such as (28, 28).
      likelihood: p(x | z_1).
      layers: stochastic layers, L >= 1.
      width: number of units in each stochastic layer.
      hidden: number of deterministic layers (not units) before each stochastic layer and the
        output; 0 makes the network linear.
      hidden_width: number of units in each of them; ``width`` by default.
      activation: "tanh", "relu", or "leaky_relu" with slope 0.3.
      values: number of values of a latent unit: 2 for Boolean units, more for categorical ones,
        which are one-hot vectors.
      low, high: the two values of a Boolean unit.
      prior: of the top layer: "learned", "uniform", or "autoregressive" (fDARN).

    Raises:
      FsbError: if a size is out of its range, or the prior or the activation is unknown.

    >>> from fsb.networks import BernoulliLikelihood
    >>> vae((8, 8), BernoulliLikelihood(), layers=1, hidden=0, width=20, values=10).units
    (20, 10)
    """
    top = choose("model.prior", prior, PRIORS)
    parts = dense(layers, width, hidden, hidden_width, activation, values, low, high)
    return VAE(shape, likelihood, parts.latent, parts.units, top(parts.units), layers, parts.mlp)
