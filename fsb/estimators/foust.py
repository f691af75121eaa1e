"""FouST: low-bias straight-through estimates for Boolean units."""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp

from fsb.constraints import choose, known
from fsb.distributions import Bernoulli
from fsb.errors import FsbError
from fsb.estimators.local import Pull, draw_hard, half_slope, mean_slope, pretend
from fsb.types import Estimator


def foust(
    delta: float = 0.1,
    gamma: float = 1.0,
    importance_reweighing: bool = True,
    scale_mode: Literal["correct", "paper"] = "correct",
) -> Estimator:
    r"""FouST: straight-through with importance reweighing, uniform noise and scaling.

    With a = (high - low)/2, the midpoint m = (high + low)/2 and s = +1 for high, -1 for low,

    .. math:: z = m + a\,s\,u, \quad u \sim U(1-\delta, 1), \qquad
        \bar\eta = \gamma\, g\, a\, \sigma(-s\,\eta).

    The model runs once, on the noisy value; evaluation is noise-free. Each part can be switched off
    separately:

    * importance reweighing (off: the slope is ST's, 2a sigmoid(eta) sigmoid(-eta));
    * noise interval ``delta`` (off: 0). Exact for functions of one unit of any order at delta = 1,
      for quadratics as delta -> 0;
    * representation: that of the site, ``Bernoulli(-a, a)``; evaluation must use the same;
    * constant ``gamma`` (off: 1).

    ``scale_mode="paper"`` is the algorithm as published, ``gamma * g * sigmoid(-s eta) / 2``. It
    omits the Jacobian 2a, so it is 1/(2a) times the correct estimate, and equal to it only for
    a = 1/2. (The same holds for the paper's straight-through, without reweighing.)

    One evaluation of the loss. Biased in general. Supports Bernoulli sites.

    Source: Pervez, Cohen & Gavves 2020 (Low Bias Low Variance Gradient Estimates for Boolean
    Stochastic Networks), https://proceedings.mlr.press/v119/pervez20a.html, Algorithm 1; factor 2a:
    Shekhovtsov 2021, arXiv:2110.03549, section on FouST.

    Args:
      delta: length of the noise interval as a fraction of a, in [0, 1].
      gamma: positive factor applied to the estimate.
      importance_reweighing: divide by twice the probability of the sampled value.
      scale_mode: "correct" or "paper".

    Raises:
      FsbError: if an argument is out of range.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(-1.0, 1.0), eta).sum(-1)
    >>> estimate = fsb.value_and_grad(fsb.foust(delta=0.1), loss)
    >>> value, grad = estimate(jnp.zeros((1, 1)), jax.random.key(0))
    >>> 0.9 <= abs(value.item()) <= 1.0, grad.item()
    (True, 0.5)
    """
    if known(delta) and not 0 <= delta <= 1:
        raise FsbError(f"foust: delta={delta}: it must lie in [0, 1]")
    if known(gamma) and not (gamma > 0 and math.isfinite(gamma)):
        raise FsbError(f"foust: gamma={gamma}: it must be positive and finite")
    scales = {"correct": lambda dist: gamma, "paper": lambda dist: gamma / dist.span}
    scale = choose("foust: scale_mode", scale_mode, scales)

    def draw(u, eta, dist):
        p = jax.nn.sigmoid(eta.astype(u.dtype))
        bit = u < p
        hard = dist.encode(bit.astype(eta.dtype))
        # Given the bit, u is uniform on its interval, so it is reused for the noise.
        again = jnp.where(bit, u, u - p) / jnp.where(bit, p, 1 - p)
        magnitude = (1 - delta * again).astype(eta.dtype)
        centre = 0.5 * (dist.low + dist.high)
        return centre + (hard - centre) * magnitude, hard, ()

    def reweighed(g, drawn, dist):
        return g * scale(dist) * half_slope(drawn.eta, drawn.hard, dist)

    def plain(g, drawn, dist):
        return g * scale(dist) * mean_slope(drawn.eta, dist)

    pulls: dict[type, Pull] = {Bernoulli: reweighed if importance_reweighing else plain}
    return pretend("foust", pulls, draw_hard if known(delta) and delta == 0 else draw)
