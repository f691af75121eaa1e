"""ReinMax with the derivative at its midpoint replaced by that of Gumbel-Rao."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli, Categorical
from fsb.distributions.bernoulli import noise_dtype
from fsb.estimators.gumbel_rao import (
    check_settings,
    conditional_noise,
    conditional_pulls,
    draw_with_more_noise,
)
from fsb.estimators.local import pretend
from fsb.estimators.st import MEAN_PULLS
from fsb.types import Estimator


def reinmax_rao(temperature: float = 1.0, samples: int = 10, nodes: int = 24) -> Estimator:
    r"""ReinMax-Rao: ReinMax, smoothed at its midpoint as in Gumbel-Rao.

    With z the one-hot sample, p = softmax(eta), J(v) = diag(v) - v v^T, and q halfway between mean
    and sample,

    .. math:: \bar\eta = \tfrac2\tau\, E\left[ J(v)\, g \mid \arg\max \zeta = z \right]
        - \tfrac12 J(p)\, g, \quad v = \mathrm{softmax}(\zeta / \tau), \quad
        \zeta = \log q + \text{Gumbel noise}, \quad q = \tfrac12 (p + z).

    What is averaged is the noise of a relaxation at q, given that it draws z. ``reinmax``, with
    J(q) in place of the expectation, has no such noise: this is not its mean given the sample, but
    another estimator, with a bias of its own.

    Categorical units use the mean over ``samples`` draws of zeta given z, whose noise it keeps.
    Boolean units use the integral of ``gumbel_rao`` at the logit of q, by quadrature with ``nodes``
    nodes.

    Biased even for linear losses, where ``reinmax(1.0)`` is not, as the relaxation is (see
    ``gumbel_softmax``). The mean for a linear loss of a Boolean unit, over the gradient, by
    quadrature: at tau = 1, 0.59 at eta = 0 and 2.53 at eta = 4 or -4; 1/2 as tau -> 0. One
    evaluation of the loss.

    Source: Wang & Bui 2026 (Beyond ReinMax: Low-Variance Gradient Estimators for Discrete Latent
    Variables), arXiv:2603.08257.

    Args:
      temperature: tau > 0.
      samples: number of conditional noise samples, for categorical units.
      nodes: number of quadrature nodes, for Boolean units.

    Raises:
      FsbError: if an argument is out of range.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 4.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> eta = jnp.zeros((1, 1))
    >>> grad = fsb.value_and_grad(fsb.reinmax_rao(0.001), loss)(eta, jax.random.key(0))[1].item()
    >>> round(grad, 2)  # half of 1.0
    0.5
    """
    check_settings("reinmax_rao", temperature, samples, nodes)
    rao = conditional_pulls(temperature, nodes)

    def pull(g, drawn, dist):
        family = type(dist)
        at_midpoint = drawn._replace(eta=MIDPOINTS[family](drawn.eta, drawn.hard, dist))
        smoothed = rao[family](g, at_midpoint, dist)
        return 2 * smoothed - 0.5 * MEAN_PULLS[family](g, drawn, dist)

    pulls = dict.fromkeys(rao, pull)
    return pretend("reinmax_rao", pulls, draw_with_more_noise, conditional_noise(samples))


def boolean_midpoint(eta, hard, dist):
    """The logit of (p + b) / 2: for the value drawn, with s eta its log odds, those of (1 + p) / 2.

    log (1 + p) - log (1 - p) keeps its accuracy where the unit is nearly certain.
    """
    sign = 2 * dist.decode(hard) - 1
    log_odds = (sign * eta).astype(noise_dtype(eta))
    return sign * (jnp.log1p(jax.nn.sigmoid(log_odds)) + jax.nn.softplus(log_odds))


def categorical_midpoint(eta, hard, dist):
    """log (p + z), up to a constant."""
    return jnp.logaddexp(jax.nn.log_softmax(eta.astype(noise_dtype(eta))), jnp.log(hard))


MIDPOINTS = {Bernoulli: boolean_midpoint, Categorical: categorical_midpoint}
