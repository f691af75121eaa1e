"""Straight-through estimators."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp

from fsb.estimators.local import boolean, draw_hard, mean_slope
from fsb.types import Estimator, FsbError


def st() -> Estimator:
    r"""Straight-through: the sample is passed on, its mean is differentiated.

    Forward z ~ Bernoulli(sigmoid(eta)); backward, with L = high - low (1 for {0,1}, 2a for {-a,a}),

    .. math:: \bar\eta = g \, L \, \sigma(\eta) \, \sigma(-\eta).

    Unbiased for losses linear in each unit, then without variance from the unit's own draw.
    One evaluation of the loss. Correct in every encoding (some papers drop the factor L).

    Source: Bengio, Leonard & Courville 2013 (arXiv 1308.3432), section 4; encoding as in
    Shekhovtsov 2021 (Bias-Variance Tradeoffs in Single-Sample Binary Gradient Estimators), eq. 4.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 3.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> fsb.value_and_grad(fsb.st(), loss)(jnp.zeros((1, 1)), jax.random.key(0))[1].item()
    0.75
    """
    return boolean("st", draw_hard, lambda eta, hard, extra, dist: mean_slope(eta, dist))


def deterministic_st(derivative: Literal["sigmoid", "identity"] = "sigmoid") -> Estimator:
    r"""Deterministic straight-through: z = high where eta >= 0, else low; no noise at all.

    .. math:: \bar\eta = g \, L \, \sigma(\eta)\sigma(-\eta) \quad\text{(``sigmoid``)}
        \qquad\text{or}\qquad \bar\eta = g \quad\text{(``identity``)}.

    It estimates the gradient of the thresholded network, not of the stochastic one: biased, with
    zero variance. One evaluation of the loss; serves Bernoulli sites.

    Source: Hubara et al. 2016 (identity); Shekhovtsov 2021, eq. 17, where BayesBiNN reduces to it.

    Args:
      derivative: "sigmoid", that of the stochastic unit's mean, or "identity".

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(-1.0, 1.0), eta).sum(-1)
    >>> estimate = fsb.value_and_grad(fsb.deterministic_st("identity"), loss)
    >>> [v.item() for v in estimate(jnp.full((1, 1), -0.3), jax.random.key(0))]
    [-1.0, 1.0]
    """
    slopes = {
        "sigmoid": lambda eta, hard, extra, dist: mean_slope(eta, dist),
        "identity": lambda eta, hard, extra, dist: jnp.ones_like(eta),
    }
    if derivative not in slopes:
        raise FsbError(f"derivative={derivative!r}: choose one of {', '.join(slopes)}")

    def draw(key, eta, dist):
        z = dist.encode((eta >= 0).astype(eta.dtype))
        return z, z, ()

    return boolean("deterministic_st", draw, slopes[derivative])
