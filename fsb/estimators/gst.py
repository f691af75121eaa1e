"""GST: straight-through with a gap between the sampled value and the others."""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli, Categorical
from fsb.errors import FsbError
from fsb.estimators.local import check_temperature, pretend, softmax_pull
from fsb.types import Array, Estimator


def gst(temperature: float = 1.0, gap: float | Literal["probability"] = 1.0) -> Estimator:
    r"""Gapped straight-through: the softmax of logits shifted so that the sampled value leads.

    D is sampled from the distribution. Its logit is then raised to the maximum, the others are
    lowered where needed to be at least ``gap`` below it, and the softmax of the shifted logits
    provides the derivative:

    .. math:: \bar\eta = \tfrac1\tau J(v)\, g, \quad v = \mathrm{softmax}(\tilde\eta / \tau), \quad
        \tilde\eta_D = \max_k \eta_k, \quad
        \tilde\eta_j = \min(\eta_j,\, \max_k \eta_k - \text{gap}),

    with J(v) = diag(v) - v v^T. It is ST-Gumbel-Softmax with the conditional noise replaced by a
    deterministic shift, so its only randomness is the sample. Boolean units, with s = +1 for high,
    -1 for low, L = high - low:

    .. math:: \bar\eta = g\, \tfrac{L}{\tau}\, \sigma(d/\tau)\, \sigma(-d/\tau), \qquad
        d = \max(s\,\eta, \text{gap}).

    Biased even for linear losses. One evaluation of the loss.

    Source: Fan et al. 2022 (Training Discrete Deep Generative Models via Gapped Straight-Through
    Estimator), arXiv:2206.07235, section 4.

    Args:
      temperature: tau > 0.
      gap: a number >= 0, or "probability" for -log(1 - p_D) / p_D, the expected lead of the sampled
        value over the largest of the others under Gumbel noise.

    Raises:
      FsbError: if an argument is out of range.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> fsb.value_and_grad(fsb.gst(gap=0.0), loss)(jnp.zeros((1, 1)), jax.random.key(0))[1].item()
    0.25
    """
    check_temperature(temperature)
    if gap != "probability" and not (isinstance(gap, (int, float)) and 0 <= gap < math.inf):
        raise FsbError(f'gst: gap={gap!r}: it must be a finite number >= 0 or "probability"')

    def gap_at(log_odds):
        return probability_gap(log_odds) if gap == "probability" else gap

    def boolean(g, drawn, dist):
        log_odds = (2 * dist.decode(drawn.hard) - 1) * drawn.eta
        d = jnp.maximum(log_odds, gap_at(log_odds)) / temperature
        return g * dist.span * jax.nn.sigmoid(d) * jax.nn.sigmoid(-d) / temperature

    def categorical(g, drawn, dist):
        eta, is_drawn = drawn.eta, drawn.hard > 0
        others = jax.nn.logsumexp(eta, -1, where=~is_drawn, keepdims=True)
        log_odds = jnp.where(is_drawn, eta - others, -jnp.inf).max(-1, keepdims=True)
        top = eta.max(-1, keepdims=True)
        moved = jnp.where(is_drawn, top, jnp.minimum(eta, top - gap_at(log_odds)))
        return softmax_pull(jax.nn.softmax(moved / temperature), g) / temperature

    return pretend("gst", {Bernoulli: boolean, Categorical: categorical})


def probability_gap(log_odds: Array) -> Array:
    """-log(1 - p) / p for the probability p of the sampled value, from log(p / (1 - p))."""
    log_odds = jnp.maximum(log_odds, -20)  # already 1 there; avoids 0 / 0
    return jax.nn.softplus(log_odds) / jax.nn.sigmoid(log_odds)
