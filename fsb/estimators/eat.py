"""EAT: counts as events of a Poisson process, with a soft end of the interval."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fsb.constraints import known
from fsb.distributions import Poisson
from fsb.distributions.bernoulli import noise_dtype
from fsb.errors import FsbError
from fsb.estimators.local import pretend
from fsb.types import Array, Estimator


def eat(temperature: float = 0.5) -> Estimator:
    r"""EAT-cubic: a count is the number of events up to time 1, which the model sees softened.

    The events of a Poisson process of rate :math:`\lambda = e^\eta` stand at times
    :math:`S_1 < S_2 < \ldots`, which are proportional to :math:`1 / \lambda`. The model sees

    .. math:: z = \sum_m \psi(S_m), \qquad \bar\eta = -g \sum_m S_m \, \psi'(S_m), \qquad
        \psi(t) = 1 - x^2 (3 - 2x), \quad x = \frac{t - 1 + \tau}{2 \tau} \text{ within } [0, 1],

    which is 1 before :math:`1 - \tau` and 0 after :math:`1 + \tau`: counts for
    :math:`\tau \to 0`.

    By Campbell's theorem :math:`E z = \lambda` and
    :math:`\operatorname{Var} z = \lambda (1 - 9 \tau / 35)`: unbiased for linear losses, for
    :math:`z^2` short by :math:`9 \tau \lambda / 35`, in general biased. One evaluation of the loss,
    at values that are not counts. Any rate; a draw takes time in proportion to the largest number
    of events within :math:`\tau` of 1. Supports Poisson sites; ``fourier_exact`` is unbiased.

    Source: Ibrahim et al. 2026 (A Hitchhiker's Guide to Poisson Gradient Estimation),
    arXiv:2602.03896. That the transition ends at 1 + tau is our reading of its condition, a
    temperature of at most 1. Given their numbers, events are uniform, so none need be cut off.

    Args:
      temperature: tau, half the width of the transition, in (0, 1].

    Raises:
      FsbError: if ``temperature`` is out of range.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("z", fsb.Poisson(), eta).sum(-1)
    >>> draws = fsb.sample_gradients(fsb.eat(), loss, jnp.zeros((1, 1)), jax.random.key(0), 20_000)
    >>> bool(abs(draws.mean() - 1) < 0.03)
    True
    """
    if known(temperature) and not 0 < temperature <= 1:
        raise FsbError(f"eat: temperature={temperature}: it must be in (0, 1]")

    def draw(keys, eta, dist):
        rate = jnp.exp(eta.astype(noise_dtype(eta)))
        one = lambda key, rate: events(key, rate, temperature)
        for _ in eta.shape:
            one = jax.vmap(one)
        z, hard, slope = (x.astype(eta.dtype) for x in one(keys, rate))
        return z, hard, slope

    return pretend("eat", {Poisson: lambda g, drawn, dist: g * drawn.extra}, draw)


def events(key: Array, rate: Array, temperature: Array | float) -> tuple[Array, Array, Array]:
    """The softened count, the count itself, and d softened / d log rate, of one unit."""
    before_key, within_key, times_key = jax.random.split(key, 3)
    before = jax.random.poisson(before_key, rate * (1 - temperature)).astype(rate.dtype)
    within = jax.random.poisson(within_key, rate * 2 * temperature)

    def add(state):
        i, z, hard, slope = state
        x = jax.random.uniform(jax.random.fold_in(times_key, i), (), rate.dtype)
        time = 1 + temperature * (2 * x - 1)
        z += 1 - x**2 * (3 - 2 * x)
        slope += time * 3 * x * (1 - x) / temperature
        return i + 1, z, hard + (x < 0.5), slope

    state = (jnp.zeros_like(within), before, before, jnp.zeros_like(rate))
    return jax.lax.while_loop(lambda state: state[0] < within, add, state)[1:]
