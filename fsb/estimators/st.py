"""Straight-through estimators."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from fsb.constraints import choose
from fsb.distributions import Bernoulli, Categorical, Subset
from fsb.estimators.local import mean_slope, pretend, softmax_pull
from fsb.types import Estimator


def st() -> Estimator:
    r"""Straight-through: passes the sample forward and differentiates its mean.

    Forward z ~ Bernoulli(sigmoid(eta)); backward, with L = high - low (1 for {0,1}, 2a for {-a,a}),

    .. math:: \bar\eta = g \, L \, \sigma(\eta) \, \sigma(-\eta).

    Categorical units: forward one-hot; backward J(p) g = (diag(p) - p p^T) g with p = softmax(eta).
    Subset units: forward k elements; backward J g with J the derivative of their exact
    probabilities, the covariance of z: this is SIMPLE.

    Unbiased for losses linear in each unit, and then with no variance from the unit's own sample.
    One evaluation of the loss. Correct in every encoding (some papers drop the factor L).

    Source: Bengio, Leonard & Courville 2013 (Estimating or Propagating Gradients Through Stochastic
    Neurons), arXiv:1308.3432, section 4; encoding as in Shekhovtsov 2021 (Bias-Variance Tradeoffs
    in Single-Sample Binary Gradient Estimators), arXiv:2110.03549, eq. 4; for subsets Ahmed et al.
    2023 (SIMPLE: A Gradient Estimator for k-Subset Sampling), arXiv:2210.01941, eq. 4.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 3.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> fsb.value_and_grad(fsb.st(), loss)(jnp.zeros((1, 1)), jax.random.key(0))[1].item()
    0.75
    """
    subset = lambda g, drawn, dist: jax.vjp(dist.mean, drawn.eta)[1](g)[0]
    return pretend("st", MEAN_PULLS | {Subset: subset})


def deterministic_st(derivative: Literal["sigmoid", "identity"] = "sigmoid") -> Estimator:
    r"""Deterministic straight-through: z = high where eta >= 0, else low, without noise.

    .. math:: \bar\eta = g \, L \, \sigma(\eta)\sigma(-\eta) \quad\text{(``sigmoid``)}
        \qquad\text{or}\qquad \bar\eta = g \quad\text{(``identity``)}.

    Categorical units: z is the one-hot argmax of eta, with the derivative of softmax (``sigmoid``)
    or of the identity.

    Estimates the gradient of the thresholded network, not of the stochastic one: biased, with
    zero variance. One evaluation of the loss; supports Bernoulli and Categorical sites.

    Source: Hubara et al. 2016 (Binarized Neural Networks), arXiv:1602.02830 (identity); Shekhovtsov
    2021, arXiv:2110.03549, eq. 17, to which BayesBiNN reduces.

    Args:
      derivative: "sigmoid", the derivative of the stochastic unit's mean, or "identity".

    Raises:
      FsbError: if ``derivative`` is neither.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(-1.0, 1.0), eta).sum(-1)
    >>> estimate = fsb.value_and_grad(fsb.deterministic_st("identity"), loss)
    >>> [v.item() for v in estimate(jnp.full((1, 1), -0.3), jax.random.key(0))]
    [-1.0, 1.0]
    """
    identity = dict.fromkeys(MEAN_PULLS, lambda g, drawn, dist: g)
    pulls = {"sigmoid": MEAN_PULLS, "identity": identity}
    pull = choose("deterministic_st: derivative", derivative, pulls)
    modes = {
        Bernoulli: lambda eta, dist: dist.encode((eta >= 0).astype(eta.dtype)),
        Categorical: lambda eta, dist: jax.nn.one_hot(
            jnp.argmax(eta, -1), eta.shape[-1], dtype=eta.dtype
        ),
    }

    def draw(noise, eta, dist):
        z = modes[type(dist)](eta, dist)
        return z, z, ()

    return pretend("deterministic_st", pull, draw)


MEAN_PULLS = {
    Bernoulli: lambda g, drawn, dist: g * mean_slope(drawn.eta, dist),
    Categorical: lambda g, drawn, dist: softmax_pull(jax.nn.softmax(drawn.eta), g),
}
