"""Variational autoencoders with any number of stochastic layers, built of dense layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli
from fsb.networks.likelihoods import Likelihood
from fsb.types import Array, Evidence, FsbError, Sample

INIT = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


class MLP(nn.Module):
    """``hidden`` tanh layers of ``width`` units, then a linear layer to ``outputs``."""

    hidden: int
    width: int
    outputs: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for _ in range(self.hidden):
            x = jnp.tanh(nn.Dense(self.width, kernel_init=INIT)(x))
        return nn.Dense(self.outputs, kernel_init=INIT)(x)


class VAE(nn.Module):
    """x - z_1 - ... - z_L: a Markov chain up (inference) and down (generation).

    q(z_l | z_{l-1}) with z_0 = x - mean, p(z_{l-1} | z_l), and the factorised prior p(z_L), every
    transformation an ``MLP``. The latent values enter the next layer as they are, so ``latent``'s
    encoding is the representation of the units.

    The collection ``constants`` holds the data mean ("mean", shaped like one example): it centres
    the input and gives the output its offset.

    Source: Tucker et al. 2017 (REBAR), sigmoid belief nets of the experiments.
    """

    shape: tuple[int, ...]
    likelihood: Likelihood
    latent: Bernoulli
    prior_logits: Callable[[nn.Module, int], Array]
    layers: int
    width: int
    hidden: int

    def setup(self):
        size = math.prod(self.shape)
        self.mean = self.variable("constants", "mean", jnp.zeros, self.shape)
        self.up = [MLP(self.hidden, self.width, self.width) for _ in range(self.layers)]
        below = [size * self.likelihood.outputs] + [self.width] * (self.layers - 1)
        self.down = [MLP(self.hidden, self.width, outputs) for outputs in below]
        self.prior = self.prior_logits(self, self.width)

    def __call__(self, x: Array, sample: Sample) -> Evidence:
        """The evidence of x [B, *shape] at one sample of its sites "z1" (bottom) to "zL"."""
        h = (x - self.mean.value[None]).reshape(x.shape[0], -1)
        posteriors, values = [], []
        for layer, up in enumerate(self.up, start=1):
            posteriors.append(up(h))
            h = sample(f"z{layer}", self.latent, posteriors[-1])
            values.append(h)
        priors = [down(z) for down, z in zip(self.down[1:], values[1:], strict=True)]
        priors.append(jnp.broadcast_to(self.prior[None], values[-1].shape))
        outputs = self.decode(values[0])
        log_prob = self.latent.log_prob
        return Evidence(
            likelihood=self.likelihood.log_prob(outputs, x),
            prior=tuple(log_prob(p, z).sum(-1) for p, z in zip(priors, values, strict=True)),
            entropy=tuple(self.latent.entropy(q).sum(-1) for q in posteriors),
            posterior=tuple(
                log_prob(q, z).sum(-1) for q, z in zip(posteriors, values, strict=True)
            ),
            mean=self.likelihood.mean(outputs),
        )

    def decode(self, z: Array) -> Array:
        """z_1 [B, width] -> the likelihood's outputs [B, *shape, outputs]."""
        outputs = self.down[0](z).reshape(-1, *self.shape, self.likelihood.outputs)
        return outputs + self.likelihood.offset(self.mean.value)[None]

    def generate(self, key: Array, count: int) -> Array:
        """Means E[x | z_1] of ``count`` draws from the model, [count, *shape]."""
        eta = jnp.broadcast_to(self.prior[None], (count, self.width))
        for layer in range(self.layers - 1, -1, -1):
            key, draw = jax.random.split(key)
            z = self.latent.sample(draw, eta)
            if layer:
                eta = self.down[layer](z)
        return self.likelihood.mean(self.decode(z))


def learned(module: nn.Module, width: int) -> Array:
    """Prior logits as parameters, from 0."""
    return module.param("prior", nn.initializers.zeros_init(), (width,))


def uniform(module: nn.Module, width: int) -> Array:
    """Prior logits fixed at 0."""
    return jnp.zeros(width)


def vae(
    shape: tuple[int, ...],
    likelihood: Any,
    *,
    layers: int = 2,
    width: int = 200,
    hidden: int = 2,
    low: float = -1.0,
    high: float = 1.0,
    prior: Literal["learned", "uniform"] = "learned",
) -> VAE:
    """The Boolean VAE of the papers' experiments; the defaults are Tucker's nonlinear net.

    Args:
      shape: of one example, such as (28, 28).
      likelihood: p(x | z_1).
      layers: stochastic layers, L >= 1.
      width: units of every stochastic and hidden layer.
      hidden: tanh layers before every stochastic layer and output; 0 makes the net linear.
      low, high: the two values of a unit, {-1, 1} unless told.
      prior: "learned" or "uniform".

    >>> from fsb.networks import BernoulliLikelihood
    >>> vae((8, 8), BernoulliLikelihood(), layers=1, hidden=0).width
    200
    """
    for name, value, least in (("layers", layers, 1), ("width", width, 1), ("hidden", hidden, 0)):
        if value < least:
            raise FsbError(f"model.{name}={value}: it must be at least {least}")
    priors = {"learned": learned, "uniform": uniform}
    if prior not in priors:
        raise FsbError(f"model.prior={prior!r}: choose one of {', '.join(priors)}")
    return VAE(shape, likelihood, Bernoulli(low, high), priors[prior], layers, width, hidden)
