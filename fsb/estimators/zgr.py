"""ZGR: the zero-temperature limit of Gumbel-Rao."""

from __future__ import annotations

import jax

from fsb.distributions import Bernoulli, Categorical
from fsb.estimators.local import half_slope, pretend, softmax_pull
from fsb.types import Estimator


def zgr() -> Estimator:
    r"""ZGR: the zero-temperature limit of Gumbel-Rao.

    With z the one-hot sample, p = softmax(eta) and J(p) = diag(p) - p p^T,

    .. math:: \bar\eta = \tfrac12 \left[ J(p)\, g + (z - p)\,(z - p)^\top g \right],

    the mean of straight-through and of DARN centred at p. It equals ReinMax at temperature 1. For
    Boolean units it is DARN, g L/2 sigmoid(-s eta), in any encoding.

    Unbiased for losses quadratic in each unit; bounded variance. One evaluation of the loss.

    Source: Shekhovtsov 2023 (Cold Analysis of Rao-Blackwellized Straight-Through Gumbel-Softmax
    Gradient Estimator), https://proceedings.mlr.press/v202/shekhovtsov23a.html.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: (sample("z", fsb.Categorical(), eta)[:, 0] ** 2)
    >>> eta = jnp.array([[0.4, 0.0, -1.0]])
    >>> draws = fsb.sample_gradients(fsb.zgr(), loss, eta, jax.random.key(0), 100_000)
    >>> bool(abs(draws.mean(0) - fsb.exact_gradient(loss, eta)).max() < 0.003)
    True
    """

    def boolean(g, drawn, dist):
        return g * half_slope(drawn.eta, drawn.hard, dist)

    def categorical(g, drawn, dist):
        p = jax.nn.softmax(drawn.eta)
        score = drawn.hard - p
        return 0.5 * (softmax_pull(p, g) + score * (score * g).sum(-1, keepdims=True))

    return pretend("zgr", {Bernoulli: boolean, Categorical: categorical})
