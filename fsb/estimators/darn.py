"""The DARN estimator, also known as the 1/2-estimator."""

from __future__ import annotations

from fsb.estimators.local import boolean, draw_hard, half_slope
from fsb.types import Estimator


def darn() -> Estimator:
    r"""DARN / "1/2": straight-through reweighed by 1 / (2 p(z)).

    Forward z ~ Bernoulli(sigmoid(eta)); backward, with s = +1 for high, -1 for low, L = high - low,

    .. math:: \bar\eta = g \, \tfrac{L}{2} \, \sigma(-s\,\eta).

    Unbiased for losses quadratic in each unit; bounded variance in the logit. One evaluation of the
    loss. For Boolean units the same estimator as ReinMax(1), ZGR and FouST without noise.

    Source: Gregor et al. 2014 (Deep AutoRegressive Networks); Gu et al. 2016 (MuProp), eqs 5-6;
    stable logit form and variance in Shekhovtsov 2021, eqs 18-23.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: ((sample("b", fsb.Bernoulli(), eta) - 0.45) ** 2).sum(-1)
    >>> eta = jnp.array([[0.4]])
    >>> draws = fsb.sample_gradients(fsb.darn(), loss, eta, jax.random.key(0), 100_000)
    >>> bool(abs(draws.mean() - fsb.exact_gradient(loss, eta)) < 0.002)
    True
    """
    return boolean("darn", draw_hard, lambda eta, hard, extra, dist: half_slope(eta, hard, dist))
