"""Evidence bounds of latent-variable models, in nats per example."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from fsb.errors import FsbError
from fsb.runtime.random import split
from fsb.types import Array, Evidence, PRNGKey

Objective = Callable[..., Array]
"""``objective(evidence, step=None) -> losses [B]``; ``step`` is the number of updates so far."""


def elbo(warmup_steps: int = 0, free_bits: float = 0.0) -> Objective:
    r"""The single-sample evidence lower bound as a loss: -ELBO, [B].

    .. math:: \log p(x \mid z_1) - \sum_l K_l, \qquad
        K_l = -\log p(z_l \mid z_{l+1}) - H[q(z_l \mid z_{l-1})],

    with sampled cross-entropies and analytic entropies: unbiased, with less variance than sampling
    the entropies too. Two modifications keep upper layers from collapsing early in training. With
    either, the loss is no longer the negative ELBO, which is logged in any case:

    .. math:: \log p(x \mid z_1) - \min(1, t / T) \sum_l \max(\lambda, K_l)

    Source: warm-up: Bowman et al. 2016 (Generating Sentences from a Continuous Space),
    arXiv:1511.06349, and Sonderby et al. 2016 (Ladder Variational Autoencoders), arXiv:1602.02282;
    free bits: Kingma et al. 2016 (Improved Variational Inference with Inverse Autoregressive Flow),
    arXiv:1606.04934, eq. 15, here applied per example rather than to the mean over the batch, so
    that examples stay independent.

    Args:
      warmup_steps: T; with 0 the KL has its full weight from the start.
      free_bits: lambda, in nats per layer; a layer's KL below it costs no more than lambda.

    Raises:
      FsbError: if an argument is negative.
    """
    if warmup_steps < 0 or free_bits < 0:
        raise FsbError(
            f"elbo: warmup_steps={warmup_steps}, free_bits={free_bits}: both must be at least 0"
        )

    def objective(evidence: Evidence, step: Array | int | None = None) -> Float[Array, " batch"]:
        layers = kl_per_layer(evidence)
        if free_bits:
            layers = tuple(jnp.maximum(free_bits, kl) for kl in layers)
        weight = jnp.minimum(1.0, step / warmup_steps) if warmup_steps and step is not None else 1.0
        return -(evidence.likelihood - weight * sum(layers))

    return objective


def sampled_elbo() -> Objective:
    r"""The evidence lower bound with sampled entropies, as a loss: minus the log weight, [B].

    .. math:: \log p(x, z) - \log q(z \mid x), \quad z \sim q

    Has the mean of ``elbo`` and more variance. Required by the estimators of multi-sample bounds
    (``vimco``, ``iw_disarm``, ``multi_sample``), which turn it into the importance-weighted bound
    of n runs.
    """
    return lambda evidence, step=None: -log_weight(evidence)


def kl_per_layer(evidence: Evidence) -> tuple[Float[Array, " batch"], ...]:
    """Single-sample KL: -log p(z_l | z_{l+1}) - H[q(z_l | z_{l-1})], [B] each, bottom first."""
    return tuple(-p - h for p, h in zip(evidence.prior, evidence.entropy, strict=True))


def log_weight(evidence: Evidence) -> Float[Array, " batch"]:
    """log p(x, z) - log q(z | x), [B]: the log importance weight of one (hard) sample."""
    return evidence.likelihood + sum(evidence.prior) - sum(evidence.posterior)


def importance_weighted_bound(
    log_weight_of: Callable[[PRNGKey], Float[Array, " batch"]],
    key: PRNGKey,
    num_samples: int,
    chunk_size: int = 10,
) -> Float[Array, " batch"]:
    """log (1/K) sum_k w_k, [B]: a lower bound on log p(x) that increases with K.

    Source: Burda, Grosse & Salakhutdinov 2016 (IWAE), arXiv:1509.00519, eq. 8.

    Args:
      log_weight_of: key -> log weights [B] of one hard sample per example.
      num_samples: K.
      chunk_size: number of samples evaluated in parallel, to bound the memory.
    """
    keys = split(key, num_samples)
    log_weights = jax.lax.map(log_weight_of, keys, batch_size=chunk_size)
    return jax.nn.logsumexp(log_weights, axis=0) - math.log(num_samples)


def bits_per_dimension(elbo: Array | float, dimensions: int, offset: float) -> Array | float:
    """-ELBO / (D ln 2) + offset; the offset corrects for scaled, dequantised pixels (8 for /256).

    >>> round(bits_per_dimension(-3072 * math.log(2), 3072, 8.0), 6)
    9.0
    """
    return -elbo / (dimensions * math.log(2)) + offset
