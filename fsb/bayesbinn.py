r"""Optimisers for binary weights: BayesBiNN as derived, as released, and what that reduces to.

A weight w in {-1, 1} has the natural parameter lam = logit(P(w = 1)) / 2 and the mean
mu = tanh(lam). The gradient in mu is the natural gradient in lam, so the update is linear.
For the mean loss f over N training points and a uniform prior,

.. math:: \lambda \leftarrow (1 - \alpha)\,\lambda - \alpha\, N\, G.

Source: Meng, Bachmann & Khan 2020 (Training Binary Neural Networks using the Bayesian Learning
Rule), arXiv:2002.10778; Shekhovtsov 2021 (Bias-Variance Tradeoffs in Single-Sample Binary Gradient
Estimators), arXiv:2110.03549, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fsb.distributions import Bernoulli
from fsb.errors import FsbError
from fsb.estimators.local import check_temperature
from fsb.types import Array, PyTree


class BinaryOptimizer(NamedTuple):
    """An Optax transformation of lam, and the weights at which its gradients are evaluated.

    init, update: as in ``optax.GradientTransformation``; works with ``optax.chain``.
    weights: ``weights(key, lam)``, shaped like lam; its derivative is the estimator's, G / f'(w).
    """

    init: Callable[[PyTree], Any]
    update: Callable[..., tuple[PyTree, Any]]
    weights: Callable[[Array, PyTree], PyTree]


def bayesbinn(
    learning_rate: float | optax.Schedule,
    temperature: float,
    train_size: int,
    momentum: float = 0.0,
) -> BinaryOptimizer:
    r"""BayesBiNN as derived: the Gumbel-Softmax gradient with respect to the mean of a weight.

    .. math:: w = \tanh((\lambda + \delta)/\tau), \quad
        \delta = \tfrac12 \log \frac{u}{1 - u}, \quad u \sim U(0, 1), \quad
        G = J f'(w), \quad J = \frac{1 - w^2}{\tau\,(1 - \mu^2)}.

    The mean of G^2 grows as 1/tau: for constant f' = 1 it tends to 2 / (3 tau (1 - mu^2)). Average
    the losses over several keys to reduce it. The final network has the weights sign(lam).

    Source: Meng, Bachmann & Khan 2020 (BayesBiNN), arXiv:2002.10778, Lemma 1 and Table 1;
    Shekhovtsov 2021, arXiv:2110.03549, eqs. 14 and 16, Proposition 6.

    Args:
      learning_rate: alpha in (0, 1], or an Optax schedule of it.
      temperature: tau > 0; above 1 the gradient of a nearly deterministic weight is unbounded.
      train_size: N >= 1; the differentiated loss is the mean over training points.
      momentum: in [0, 1); decay of a bias-corrected running mean of the whole step.

    Raises:
      FsbError: if an argument is out of range.

    >>> import jax, jax.numpy as jnp, optax
    >>> rule = bayesbinn(0.01, temperature=0.5, train_size=100)
    >>> lam = {"w": jnp.zeros(3)}
    >>> loss = lambda lam, key: ((rule.weights(key, lam)["w"] - 1) ** 2).mean()
    >>> grads = jax.grad(loss)(lam, jax.random.key(0))
    >>> updates, state = rule.update(grads, rule.init(lam), lam)
    >>> bool((optax.apply_updates(lam, updates)["w"] > 0).all())
    True
    """
    return _gumbel_softmax(learning_rate, temperature, train_size, momentum, 0.0)


def bayesbinn_released(
    learning_rate: float | optax.Schedule,
    train_size: int,
    temperature: float = 1e-10,
    epsilon: float = 1e-10,
    momentum: float = 0.0,
) -> BinaryOptimizer:
    r"""BayesBiNN with the epsilon of the published code, which changes the method.

    .. math:: J = \frac{1 - w^2 + \epsilon}{\tau\,(1 - \mu^2 + \epsilon)}

    At the published temperature the noise almost never satisfies |lam + delta| < tau: w is a sign,
    and J = epsilon / (tau (1 - mu^2 + epsilon)), which is 2.4 at |lam| = 1, 5.5e3 at 5, 1.2e8 at 10
    and 1/tau beyond 12. Steps of that size take every lam with a nonzero gradient there within a
    few updates, and from then on this is ``det_ste_decay`` for lam tau / N, not Bayesian learning.

    Here 1 - mu^2 is exact. The published code rounds mu in float32, to 1 for |lam| >= 9.1, takes mu
    from the previous step, and starts at |lam| = 10.

    Source: https://github.com/team-approx-bayes/BayesBiNN, optimizers/BayesBiNN.py; Shekhovtsov
    2021, arXiv:2110.03549, eq. 15 and Proposition 7.

    Args:
      learning_rate, train_size, temperature, momentum: as in ``bayesbinn``.
      epsilon: positive.

    Raises:
      FsbError: if an argument is out of range.

    >>> import jax, jax.numpy as jnp
    >>> rule = bayesbinn_released(1e-4, train_size=50_000)
    >>> slope = jax.grad(lambda lam: rule.weights(jax.random.key(0), lam))
    >>> f"{slope(-5.0).item():.2g} {slope(20.0).item():.2g}"
    '5.5e+03 1e+10'
    """
    if not 0 < epsilon < math.inf:
        raise FsbError(f"epsilon={epsilon}: it must be positive and finite")
    return _gumbel_softmax(learning_rate, temperature, train_size, momentum, epsilon)


def det_ste_decay(learning_rate: float | optax.Schedule, momentum: float = 0.0) -> BinaryOptimizer:
    r"""Deterministic straight-through with decay of the latent weights.

    .. math:: w = \operatorname{sign}(\lambda), \quad
        \lambda \leftarrow (1 - \alpha)\,\lambda - \alpha f'(w).

    Equals ``bayesbinn_released`` for lam tau / N, for any tau and N. The key of ``weights`` is
    unused.

    Source: Shekhovtsov 2021 (Bias-Variance Tradeoffs in Single-Sample Binary Gradient Estimators),
    arXiv:2110.03549, eq. 17.

    Args:
      learning_rate, momentum: as in ``bayesbinn``.

    Raises:
      FsbError: if an argument is out of range.

    >>> import jax.numpy as jnp
    >>> rule = det_ste_decay(0.1)
    >>> lam = jnp.array([0.5, -0.5])
    >>> rule.weights(None, lam).tolist()
    [1.0, -1.0]
    >>> updates, state = rule.update(jnp.array([1.0, 0.0]), rule.init(lam), lam)
    >>> (lam + updates).round(3).tolist()
    [0.35..., -0.45...]
    """

    def weights(key, lam):
        return jax.tree.map(lambda x: _pretend(jnp.where(x < 0, -1, 1).astype(x.dtype), 1, x), lam)

    return _optimizer(learning_rate, 1, momentum, weights)


def _gumbel_softmax(learning_rate, temperature, train_size, momentum, epsilon) -> BinaryOptimizer:
    check_temperature(temperature)
    dist, floor = Bernoulli(-1.0, 1.0), math.log(epsilon) if epsilon else -math.inf

    def draw(key, lam):
        noisy = dist.perturb(dist.noise(key, lam), 2 * lam)  # 2 (lam + delta)
        w = dist.soften(noisy, temperature)
        # In log space: both differences from 1 may underflow while their ratio does not.
        above = jnp.logaddexp(_log_sech2(noisy / (2 * temperature)), floor)
        below = jnp.logaddexp(_log_sech2(lam.astype(noisy.dtype)), floor)
        slope = jnp.exp(above - below) / temperature
        return _pretend(w.astype(lam.dtype), slope.astype(lam.dtype), lam)

    def weights(key, lam):
        leaves, structure = jax.tree.flatten(lam)
        keys = jax.random.split(key, len(leaves))
        drawn = [draw(k, jnp.asarray(x)) for k, x in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(structure, drawn)

    return _optimizer(learning_rate, train_size, momentum, weights)


def _optimizer(learning_rate, train_size, momentum, weights) -> BinaryOptimizer:
    """lam <- lam - alpha m, with m the running mean of N G + lam."""
    if not callable(learning_rate) and not 0 < learning_rate <= 1:
        raise FsbError(f"learning_rate={learning_rate}: it must lie in (0, 1]")
    if train_size < 1:
        raise FsbError(f"train_size={train_size}: it must be at least 1")
    if not 0 <= momentum < 1:
        raise FsbError(f"momentum={momentum}: it must lie in [0, 1)")
    chain = optax.chain(
        optax.scale(train_size),
        optax.add_decayed_weights(1.0),
        optax.ema(momentum),
        optax.scale_by_learning_rate(learning_rate),
    )
    return BinaryOptimizer(chain.init, chain.update, weights)


def _log_sech2(x: Array) -> Array:
    """log(1 - tanh(x)^2), for x of any size."""
    x = jnp.abs(x)
    return 2 * (math.log(2) - x - jnp.log1p(jnp.exp(-2 * x)))


def _pretend(value: Array, slope: Array | float, lam: Array) -> Array:
    """The value, with ``slope`` as its derivative in lam."""
    held = jax.lax.stop_gradient
    return held(value) + held(slope) * (lam - held(lam))
