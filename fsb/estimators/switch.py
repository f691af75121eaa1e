"""Switches from one estimator to another during training."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fsb.errors import FsbError
from fsb.runtime.random import split
from fsb.types import Aux, Estimator


def switch(first: Estimator, second: Estimator, step: int) -> Estimator:
    r"""Uses ``first`` for a number of estimates and ``second`` from then on.

    .. math:: \bar\eta^{(t)} = \bar\eta^{(t)}_1 \text{ if } t < \text{step, else } \bar\eta^{(t)}_2

    For example a cheap biased estimator at first and an unbiased one later, as in
    ``switch(st(), average(arm(), 10), 5000)``. Only the current estimator is computed, and only its
    control parameters and state change. Requires ``stateful_value_and_grad``, as it counts the
    estimates.

    Source: Shekhovtsov 2021 (Bias-Variance Tradeoffs in Single-Sample Binary Gradient Estimators),
    arXiv:2110.03549, section 5 and figure 3.

    Args:
      first, second: any estimators.
      step: number of estimates by ``first``, >= 0.

    Raises:
      FsbError: if ``step`` is negative.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1) ** 2
    >>> estimator = fsb.switch(fsb.st(), fsb.exact(), 1)
    >>> eta, key = jnp.zeros((1, 1)), jax.random.key(0)
    >>> control, state = fsb.init(estimator, loss, eta, key)
    >>> for _ in range(2):
    ...     out = fsb.stateful_value_and_grad(estimator, loss)(eta, control, state, key)
    ...     state = out.state
    >>> out.params.item()
    0.25
    """
    if step < 0:
        raise FsbError(f"switch: step={step}: it must be at least 0")

    def init(key, sites):
        keys = split(key, 2)
        pairs = [e.init(k, sites) for e, k in zip((first, second), keys, strict=True)]
        controls, states = zip(*pairs, strict=True)
        return controls, (jnp.int32(0), states)

    def surrogate(run, control, state, key):
        count, states = state

        def turn(which):
            def estimate():
                losses, aux = (first, second)[which].surrogate(
                    run, control[which], states[which], key
                )
                after = tuple(aux.state if i == which else states[i] for i in (0, 1))
                return losses, jnp.asarray(aux.objective, jnp.float32), after

            return estimate

        losses, objective, states = jax.lax.cond(count < step, turn(0), turn(1))
        return losses, Aux(objective, (count + 1, states), {"second": (count >= step) * 1.0})

    return Estimator(init, surrogate)
