"""A template for a new estimator: copy this file, rename it, and change what is marked <-.

This is a *local* estimator: it draws every site and replaces the derivative of the draw. It needs
one evaluation of the loss and only the cotangent g of the sample. An estimator that runs the whole
model several times is an ``fsb.Estimator(init, surrogate)``; copy ``rloo.py`` for one.
"""

from __future__ import annotations

from fsb.constraints import known
from fsb.distributions import Bernoulli
from fsb.errors import FsbError
from fsb.estimators.local import half_slope, mean_slope, pretend
from fsb.types import Estimator


def template(weight: float = 0.5) -> Estimator:  # <- the name of the file and its settings
    r"""A mixture of straight-through and DARN.  <- one sentence

    With L = high - low and s = +1 where the unit is high, -1 where it is low,

    .. math:: \bar\eta = g \, L \left[ (1 - w)\, \sigma(\eta)\sigma(-\eta)
        + \tfrac{w}{2}\, \sigma(-s\eta) \right].

    Unbiased for linear losses. One evaluation of the loss. Serves Bernoulli sites.

    Source: authors, year (title), arXiv:NNNN.NNNNN, equation; or none.  <-

    Args:
      weight: w, the share of DARN, in [0, 1].

    Raises:
      FsbError: if a setting is out of its range.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> fsb.value_and_grad(template(), loss)(jnp.zeros((1, 1)), jax.random.key(0))[1].item()
    0.25
    """
    if known(weight) and not 0 <= weight <= 1:
        raise FsbError(f"template: weight={weight}: it must lie in [0, 1]")  # <-

    # drawn.eta [B, D...] are the logits, drawn.hard the value drawn, low or high;
    # dist.span = high - low, p = jax.nn.sigmoid(drawn.eta), s = 2 * dist.decode(drawn.hard) - 1.
    def boolean(g, drawn, dist):  # <- from the cotangent of z to that of eta, both [B, D...]
        st = mean_slope(drawn.eta, dist)
        darn = half_slope(drawn.eta, drawn.hard, dist)
        return g * ((1 - weight) * st + weight * darn)

    return pretend("template", {Bernoulli: boolean})  # <- one function for each family it serves
