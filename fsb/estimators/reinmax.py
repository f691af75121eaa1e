"""ReinMax: second-order straight-through."""

from __future__ import annotations

import jax

from fsb.distributions import Bernoulli, Categorical
from fsb.estimators.local import Pull, check_temperature, mean_slope, pretend, softmax_pull
from fsb.types import Estimator


def reinmax(temperature: float = 1.0) -> Estimator:
    r"""ReinMax: Heun's method in place of the Euler step of straight-through.

    With z the one-hot sample, p = softmax(eta), J(q) = diag(q) - q q^T, and q halfway between the
    sample and the tempered mean,

    .. math:: \bar\eta = 2\, J(q)\, g - \tfrac12 J(p)\, g, \qquad
        q = \tfrac12 \left(\mathrm{softmax}(\eta/\tau) + z\right).

    Boolean units: g L (2 q (1 - q) - p (1 - p) / 2), q = (sigmoid(eta / tau) + b) / 2, with b = 1
    for high and 0 for low, L = high - low.

    Unbiased for losses quadratic in each unit if tau = 1, where it equals ZGR (and DARN for Boolean
    units); otherwise biased even for linear losses. One evaluation of the loss.

    Source: Liu et al. 2023 (Bridging Discrete and Backpropagation: Straight-Through and Beyond),
    arXiv:2304.08612.

    Args:
      temperature: tau > 0; the paper uses tau >= 1.

    Raises:
      FsbError: if ``temperature`` is not positive and finite.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 3.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> fsb.value_and_grad(fsb.reinmax(), loss)(jnp.zeros((1, 1)), jax.random.key(0))[1].item()
    0.75
    """
    check_temperature(temperature)
    return pretend("reinmax", reinmax_pulls(temperature))


def reinmax_pulls(temperature: float) -> dict[type, Pull]:
    """2 J(q) g - J(p) g / 2."""

    def boolean(g, drawn, dist):
        eta, b = drawn.eta / temperature, dist.decode(drawn.hard)
        high, low = 0.5 * (jax.nn.sigmoid(eta) + b), 0.5 * (jax.nn.sigmoid(-eta) + (1 - b))
        return g * (2 * dist.span * high * low - 0.5 * mean_slope(drawn.eta, dist))

    def categorical(g, drawn, dist):
        q = 0.5 * (jax.nn.softmax(drawn.eta / temperature) + drawn.hard)
        return 2 * softmax_pull(q, g) - 0.5 * softmax_pull(jax.nn.softmax(drawn.eta), g)

    return {Bernoulli: boolean, Categorical: categorical}
