"""CARMS: several mutually antithetic samples for categorical units."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli, Categorical
from fsb.errors import FsbError
from fsb.estimators._attach import layerwise, weigh
from fsb.estimators.arms import changes_of_all, coupled_noise, debias, of_companions, second
from fsb.estimators.disarm_tree import stick_logits, values_of
from fsb.runtime.random import fold_in, split, uniform
from fsb.sites import Site, site_key
from fsb.types import Array, Estimator


def carms(samples: int = 3) -> Estimator:
    r"""CARMS: leave-one-out REINFORCE with several coupled samples of a categorical unit.

    Each unit breaks a stick, from its least likely value to its likeliest: the bit of value k is
    high with probability :math:`p_k = \pi_k / \sum_{j \ge k} \pi_j`, and the first high bit is the
    value. The n samples share a Dirichlet copula at each bit, as in ``arms``; with :math:`P(x, y)`
    the probability that two of them have the values x and y,

    .. math:: \bar\eta = \frac{1}{n (n - 1)} \sum_{i < j} (f_i - f_j) (e_{z_i} - e_{z_j}) \,
        r(z_i, z_j), \qquad r(x, y) = \frac{\pi_x \pi_y}{P(x, y)} .

    Without the last factor this is ``rloo``. If x comes before y, with :math:`P_{11}` and
    :math:`P_{00} = 1 - 2p + P_{11}` the probabilities that two bits are both high or both low,

    .. math:: r(x, y) = \frac{p_x (1 - p_x)}{p_x - P_{11, x}}
        \prod_{k < x} \frac{(1 - p_k)^2}{P_{00, k}} .

    Unbiased. *Proof.* The mean of a term is :math:`\tfrac{1}{n (n - 1)} \sum_{x \ne y} \pi_x \pi_y
    (F_x - F_y)(e_x - e_y)`, with :math:`F_x` the mean loss given the value x, if P(x, y) > 0
    wherever :math:`\pi_x \pi_y > 0`. The sum is twice the gradient (docs/theory/categorical.md),
    and there are n (n - 1) / 2 terms. And P(x, y) > 0: before any pair, there are two values or
    more behind k that are no less likely, so :math:`p_k \le 1/3` and :math:`P_{00} \ge 1/3`, and
    the first factor is at least 1/2. The product lies between 1 and 2, so r does between 1/2 and 2.

    With two values it is ``arms``, and with two samples of these ``disarm``. The authors' first
    choice is another coupling, by inverse CDF in random orders of the values, whose table of P
    takes K^4 operations; this one is their code's "sbcarms", and takes K.

    Several layers, and Bernoulli sites: as ``arms``. Costs 1 + L (n - 1) evaluations of the loss,
    one of them differentiated. Examples must be independent (no BatchNorm). Supports Bernoulli and
    Categorical sites.

    Source: Dimitriev & Zhou 2021 (CARMS: Categorical-Antithetic-REINFORCE Multi-Sample Gradient
    Estimator), arXiv:2110.14002.

    Args:
      samples: n >= 2, the number of samples per layer.

    Raises:
      FsbError: if ``samples`` is less than 2.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 4.0 * sample("c", fsb.Categorical(), eta)[:, 0, 0]
    >>> fsb.value_and_grad(fsb.carms(2), loss)(jnp.zeros((1, 1, 2)), jax.random.key(0))[1]
    Array([[[ 1., -1.]]], dtype=float32)
    """
    if samples < 2:
        raise FsbError(f"carms: samples={samples}: it must be at least 2")

    def estimate(site, change, key):
        if isinstance(site.dist, Bernoulli):
            return of_companions(site, change, key, samples)
        order = site.eta.argsort(-1)
        logits = stick_logits(jnp.take_along_axis(site.eta.astype(site.noise.dtype), order, -1))
        places = coupled_places(site, order, logits, key, samples)
        values = jax.nn.one_hot(
            jnp.take_along_axis(order[None], places[..., None], -1)[..., 0],
            order.shape[-1],
            dtype=site.z.dtype,
        )
        changes = changes_of_all(change, values[1:])
        factors = of_pairs(ratios(logits, samples), places)
        slopes = weigh(changes[:, None] - changes[None], factors).sum(1)
        return (slopes[..., None] * values).sum(0) / (samples * (samples - 1))

    return layerwise("carms", estimate, Bernoulli, Categorical)


def coupled_places(site: Site, order: Array, logits: Array, key: Array, samples: int) -> Array:
    """The places [n, B, D...] of coupled values on the stick, the first that of the run's.

    The bits of the run's value before its place are low, that at it is high, and those behind are
    free; uniform numbers that say so are drawn for them, and coupled.
    """
    drawn: Any = jnp.take_along_axis(site.z, order, -1).argmax(-1, keepdims=True)
    own, coupling = split(fold_in(site_key(key, site.name), samples), 2)
    v: Any = uniform(own, logits.shape, logits.dtype)
    p, place = jax.nn.sigmoid(logits), values_of(logits)
    u = jnp.where(place < drawn, p + (1 - p) * v, jnp.where(place == drawn, p * v, v))
    bits = coupled_noise(u, logits, coupling, samples) < p[None]  # the last is high in any case
    return jnp.concatenate([drawn[None, ..., 0], bits.argmax(-1)])


def ratios(logits: Array, samples: int) -> Array:
    """r [B, D..., K] of two different values, by the place of the first; the last is no first."""
    p = jax.nn.sigmoid(logits[..., :-1])
    low = (1 - p) ** 2 / (1 - p * (2 - second(p, samples)))
    before = jnp.concatenate([jnp.ones_like(logits[..., :1]), jnp.cumprod(low, -1)], -1)
    return before * debias(logits, samples)


def of_pairs(ratio: Array, places: Array) -> Array:
    """r [n, n, B, D...] of every two samples; 0 if their values are the same."""
    a, b = places[:, None], places[None]
    first = jnp.minimum(a, b)[..., None]
    return jnp.where(a == b, 0, jnp.take_along_axis(ratio[None, None], first, -1)[..., 0])
