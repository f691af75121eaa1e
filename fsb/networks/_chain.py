"""The Markov chain x - z_1 - ... - z_L that VAEs share: up to infer, down to generate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import Float

from fsb.networks.likelihoods import Likelihood
from fsb.sites import per_example
from fsb.types import Array, Evidence, PRNGKey, Sample


class Chain(NamedTuple):
    """A VAE as functions from the value of one layer to what it says of the next.

    likelihood: p(x | z_1).
    mean: of the data, shaped like one example.
    latent: the family of every latent unit.
    up: from z_{l-1} to eta of q(z_l | z_{l-1}), with z_0 = x - mean; bottom first.
    down: from z_1 to the numbers that the likelihood reads, then from z_{l+1} to eta of
      p(z_l | z_{l+1}); bottom first.
    prior: from z_L to eta of p(z_L); ``prior.sample(key, latent, count)`` draws from it.
    """

    likelihood: Likelihood
    mean: Float[Array, "*shape"]
    latent: Any
    up: Sequence[Callable[[Array], Array]]
    down: Sequence[Callable[[Array], Array]]
    prior: Any


def evidence(chain: Chain, x: Float[Array, batch * shape], sample: Sample) -> Evidence:
    """The evidence of x [B, *shape] at one sample of the sites "z1" (bottom) to "zL"."""
    h = x - chain.mean[None]
    posteriors, values = [], []
    for layer, up in enumerate(chain.up, start=1):
        posteriors.append(up(h))
        h = sample(f"z{layer}", chain.latent, posteriors[-1])
        values.append(h)
    priors = [down(z) for down, z in zip(chain.down[1:], values[1:], strict=True)]
    priors.append(chain.prior(values[-1]))
    outputs = decode(chain, values[0])
    log_prob = lambda eta, z: per_example(chain.latent.log_prob(eta, z))
    return Evidence(
        likelihood=chain.likelihood.log_prob(outputs, x),
        prior=tuple(map(log_prob, priors, values)),
        entropy=tuple(per_example(chain.latent.entropy(q)) for q in posteriors),
        posterior=tuple(map(log_prob, posteriors, values)),
        mean=chain.likelihood.mean(outputs),
    )


def decode(chain: Chain, z: Float[Array, batch * units]) -> Float[Array, "batch *shape outputs"]:
    """z_1 -> the likelihood's outputs [B, *shape, outputs]."""
    return outputs_from(chain.likelihood, chain.down[0](z), chain.mean)


def generate(chain: Chain, key: PRNGKey, count: int) -> Float[Array, {count} * shape]:
    """The means E[x | z_1] at ``count`` draws of z_1 from the model, [count, *shape]."""
    key, draw = jax.random.split(key)
    z = chain.prior.sample(draw, chain.latent, count)
    for down in reversed(chain.down[1:]):
        key, draw = jax.random.split(key)
        z = chain.latent.sample(draw, down(z))
    return chain.likelihood.mean(decode(chain, z))


def outputs_from(
    likelihood: Likelihood, numbers: Float[Array, batch * any], mean: Float[Array, "*shape"]
) -> Float[Array, "batch *shape outputs"]:
    """A likelihood's outputs [B, *shape, outputs], which numbers [B, ...] of 0 put at the mean.

    Args:
      mean: of the data, [*shape].
    """
    outputs = numbers.reshape(-1, *mean.shape, likelihood.outputs)
    return outputs + likelihood.offset(mean)[None]
