"""The DARN estimator, also known as the 1/2-estimator."""

from __future__ import annotations

from typing import Literal

import jax

from fsb.constraints import choose
from fsb.distributions import Bernoulli, Categorical
from fsb.estimators.local import half_slope, pretend
from fsb.types import Estimator


def darn(centre: Literal["uniform", "half", "mean"] = "uniform") -> Estimator:
    r"""DARN or "1/2": the score times the loss's first-order change from a centre to the sample.

    With z the sample, p = E[z] the softmax of eta, and c the centre, which is 1/K for each of K
    values ("uniform"), 1/2 for each ("half") or p ("mean"),

    .. math:: \bar\eta = (z - p) \; (z - c)^\top g.

    Boolean units: with s = +1 for high, -1 for low, L = high - low, and the midpoint of the two
    values as the centre ("uniform" or "half"), it is straight-through divided by 2 p(z),

    .. math:: \bar\eta = g \, \tfrac{L}{2} \, \sigma(-s\,\eta);

    with their mean as the centre, the slope is L sigmoid(-s eta)^2.

    Unbiased for linear losses. If the centre is the midpoint, also unbiased for losses quadratic in
    each Boolean unit, and then identical to ReinMax(1), ZGR and FouST without noise. For
    categorical units see ``zgr``, the mean of ``st`` and of this estimator with centre "mean",
    which is exact for quadratics. The variance is bounded in the logit. One evaluation of the loss.

    Source: Gregor et al. 2014 (Deep AutoRegressive Networks), arXiv:1310.8499; Gu et al. 2016
    (MuProp), arXiv:1511.05176, eqs. 5-6, and eq. 7 for categorical units (its experiments use 1/K);
    stable logit form and variance: Shekhovtsov 2021, arXiv:2110.03549, eqs. 18-23.

    Args:
      centre: "uniform", "half" or "mean", the point at which the loss is linearised.

    Raises:
      FsbError: if ``centre`` is none of these.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: ((sample("b", fsb.Bernoulli(), eta) - 0.45) ** 2).sum(-1)
    >>> eta = jnp.array([[0.4]])
    >>> draws = fsb.sample_gradients(fsb.darn(), loss, eta, jax.random.key(0), 100_000)
    >>> bool(abs(draws.mean() - fsb.exact_gradient(loss, eta)) < 0.002)
    True
    """
    centres = {"uniform": lambda p: 1 / p.shape[-1], "half": lambda p: 0.5, "mean": lambda p: p}
    centre_of = choose("darn: centre", centre, centres)

    def boolean(g, drawn, dist):
        slope = half_slope(drawn.eta, drawn.hard, dist)
        return g * (4 / dist.span * slope**2 if centre == "mean" else slope)

    def categorical(g, drawn, dist):
        p = jax.nn.softmax(drawn.eta)
        change = (g * (drawn.hard - centre_of(p))).sum(-1, keepdims=True)
        return (drawn.hard - p) * change

    return pretend("darn", {Bernoulli: boolean, Categorical: categorical})
