"""ReinMax, and a difference of two relaxed derivatives at its midpoint."""

from __future__ import annotations

from fsb.estimators.gumbel_rao import (
    check_settings,
    conditional_noise,
    conditional_pulls,
    draw_with_more_noise,
)
from fsb.estimators.gumbel_softmax import relaxed_pulls
from fsb.estimators.local import check_temperature, plain_noise, pretend
from fsb.estimators.reinmax import reinmax_pulls
from fsb.estimators.reinmax_rao import MIDPOINTS
from fsb.runtime.random import fold_in
from fsb.types import Estimator


def reinmax_cv(
    temperature: float = 1.0,
    coefficient: float = 0.5,
    relaxation: float = 0.5,
    samples: int = 10,
    nodes: int = 24,
) -> Estimator:
    r"""ReinMax-CV: ReinMax and a control variate of mean 0, as published; it adds variance.

    With z, J and q as in ``reinmax_rao``, the coefficient c, and the temperature
    :math:`\tau_2` = ``relaxation``,

    .. math:: \bar\eta = \bar\eta_{\mathrm{ReinMax}} + \tfrac{c}{\tau_2} \left(
        E\left[ J(v) \mid \arg\max \zeta = z \right] - J(v) \right) g, \quad
        v = \mathrm{softmax}(\zeta / \tau_2), \quad \zeta = \log q + \text{Gumbel noise},

    both terms given that zeta draws z, the expectation as in ``gumbel_rao``.

    Its mean is that of ``reinmax``, and so is its bias. But given z, ReinMax and g are numbers, and
    what is added has mean 0: so it adds its own variance to that of ReinMax, for every c. Here to
    be compared; ``reinmax_rao`` is the one of its paper with less variance. One evaluation of the
    loss.

    Source: Wang & Bui 2026 (Beyond ReinMax: Low-Variance Gradient Estimators for Discrete Latent
    Variables), arXiv:2603.08257. The paper's code takes J(v) from the noise that drew z from the
    logits, which is not that of zeta given z: so its added term has another mean.

    Args:
      temperature: tau > 0 of ReinMax.
      coefficient: c.
      relaxation: the temperature of v, > 0.
      samples: number of noise samples in the expectation, for categorical units.
      nodes: number of quadrature nodes, for Boolean units.

    Raises:
      FsbError: if an argument is out of range.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: (3.0 * sample("b", fsb.Bernoulli(), eta) ** 3).sum(-1)
    >>> plain, added = (
    ...     fsb.sample_gradients(estimator, loss, jnp.ones((1, 1)), jax.random.key(0), 4000)
    ...     for estimator in (fsb.reinmax(), fsb.reinmax_cv())
    ... )
    >>> bool(abs(plain.mean() - added.mean()) < 0.05), bool(added.var() > plain.var())
    (True, True)
    """
    check_settings("reinmax_cv", temperature, samples, nodes)
    check_temperature(relaxation, "relaxation")
    plain, rao = reinmax_pulls(temperature), conditional_pulls(relaxation, nodes)
    relaxed, conditional = relaxed_pulls(relaxation), conditional_noise(samples)

    def noise(key, eta, dist):
        own, many = conditional(key, eta, dist)
        return own, (plain_noise(fold_in(key, 2), eta, dist), many)

    def pull(g, drawn, dist):
        family, (one, many) = type(dist), drawn.extra
        middle = MIDPOINTS[family](drawn.eta, drawn.hard, dist)
        v = dist.soften(dist.conditional(one, middle, drawn.hard), relaxation)
        mean = rao[family](g, drawn._replace(eta=middle, extra=many), dist)
        single = relaxed[family](g, drawn._replace(extra=v), dist)
        return plain[family](g, drawn, dist) + coefficient * (mean - single)

    return pretend("reinmax_cv", dict.fromkeys(plain, pull), draw_with_more_noise, noise)
