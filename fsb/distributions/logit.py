"""Probabilities as parameters of Boolean units."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fsb.distributions.bernoulli import bit_variance
from fsb.types import Array

MOST = 40.0  # no draw in float64 tells sigmoid(40) from 1


def logit_of(p: Array) -> Array:
    r"""The logit of a probability, for units whose parameters are probabilities in [0, 1].

    .. math:: \eta = \log p - \log(1 - p), \qquad
        \frac{d\eta}{dp} = \frac{1}{\sigma(\eta)\,\sigma(-\eta)},

    limited to [-40, 40]. There a unit is certain, as no draw tells 4e-18 from 0, but the derivative
    with respect to the logit is still p (1 - p) times a finite number, and that in p is the number.

    At p of exactly 0 or 1 the gradient is f(high) - f(low) for the estimators that evaluate both:
    ``exact``, ``local_expectation``, ``bitflip``, ``ugc``; ``st`` and the like give their usual
    approximation. Those that weigh sampled values by 1 / p(z), such as ``reinforce``, ``rloo``,
    ``disarm`` and ``darn``, never see the impossible value and have no right answer there: their
    variance grows as 1 / p.

    Args:
      p: probabilities, of any shape.

    Returns:
      Logits, shaped like p.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda p, sample: 3 * sample("b", fsb.Bernoulli(), fsb.logit_of(p)).sum(-1)
    >>> grad = fsb.exact_gradient(loss, jnp.array([[0.0, 0.3, 1.0]]))
    >>> [round(v, 4) for v in grad[0].tolist()]
    [3.0, 3.0, 3.0]
    """
    return _logit(jnp.asarray(p))


@jax.custom_jvp
def _logit(p: Array) -> Array:
    return jnp.clip(jnp.log(p) - jnp.log1p(-p), -MOST, MOST)


@_logit.defjvp
def _logit_jvp(primals, tangents):
    eta = _logit(primals[0])
    return eta, tangents[0] / bit_variance(eta)
