"""Optax optimisers for configurations, with the learning rate in their state.

The state of each is Optax's ``InjectStatefulHyperparamsState``: the learning rate of the latest
step is ``state.hyperparams["learning_rate"]``, a float32 scalar, for logging.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from fsb.constraints import known
from fsb.errors import FsbError
from fsb.types import Array


def sgd(
    learning_rate: float = 6e-4,
    momentum: float = 0.9,
    warmup_steps: int = 0,
    decay_steps: int = 0,
    factors: dict[str, float] | None = None,
) -> optax.GradientTransformation:
    r"""Stochastic gradient descent with (heavy-ball) momentum.

    .. math:: v \leftarrow g + \mu v, \quad \theta \leftarrow \theta - \alpha v.

    Args:
      learning_rate: alpha, positive; the default suits losses in nats per image.
      momentum: mu in [0, 1).
      warmup_steps: number of steps over which the learning rate rises linearly from 0.
      decay_steps: step at which the learning rate reaches 0 along a cosine; 0 disables the decay.
      factors: of the learning rate of single parameters, by their path in the params.

    Raises:
      FsbError: if an argument is out of range; at the start, if there is no parameter of a path.

    >>> import jax.numpy as jnp
    >>> optimizer = sgd(0.1)
    >>> updates, state = optimizer.update(jnp.ones(2), optimizer.init(jnp.zeros(2)))
    >>> updates.tolist(), float(state.hyperparams["learning_rate"])
    ([-0.1..., -0.1...], 0.1...)
    """
    _within("momentum", momentum)
    rescaled = [_rescaled(factors)] if factors else []
    return _visible(
        lambda learning_rate: (
            optax.chain(optax.sgd(learning_rate, momentum), *rescaled)
            if rescaled
            else optax.sgd(learning_rate, momentum)
        ),
        learning_rate,
        warmup_steps,
        decay_steps,
    )


def adam(
    learning_rate: float = 3e-4,
    b1: float = 0.9,
    b2: float = 0.999,
    warmup_steps: int = 0,
    decay_steps: int = 0,
) -> optax.GradientTransformation:
    """Adam with epsilon = 1e-8.

    Source: Kingma & Ba 2015 (Adam), arXiv:1412.6980, Algorithm 1.

    Args:
      learning_rate: positive.
      b1, b2: decay of the first and second moment, in [0, 1).
      warmup_steps, decay_steps: as in ``sgd``.

    Raises:
      FsbError: if an argument is out of range.

    >>> import jax.numpy as jnp
    >>> optimizer = adam(0.1)
    >>> updates, _ = optimizer.update(jnp.ones(2), optimizer.init(jnp.zeros(2)))
    >>> updates.round(3).tolist()
    [-0.1..., -0.1...]
    """
    _within("b1", b1)
    _within("b2", b2)
    return _visible(
        lambda learning_rate: optax.adam(learning_rate, b1, b2),
        learning_rate,
        warmup_steps,
        decay_steps,
    )


def _visible(
    make: Callable, learning_rate: float, warmup_steps: int, decay_steps: int
) -> optax.GradientTransformation:
    """Puts the learning rate, and no other hyperparameter, into the optimiser's state."""
    if known(learning_rate) and not 0 < learning_rate < math.inf:
        raise FsbError(f"learning_rate must be positive and finite, got {learning_rate}")
    rate = _schedule(learning_rate, warmup_steps, decay_steps)
    return optax.inject_hyperparams(make)(learning_rate=rate)


def _rescaled(factors: dict[str, float]) -> optax.GradientTransformation:
    """Multiplies the updates of the parameters at these paths."""
    name = lambda path: "/".join(str(key.key) for key in path)

    def check(params):
        paths = [name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        for wanted in factors:
            if wanted not in paths:
                raise FsbError(f"factors: no parameter {wanted}; there are {', '.join(paths)}")
        return optax.EmptyState()

    def update(updates, state, params=None):
        scale = lambda path, u: factors.get(name(path), 1.0) * u
        return jax.tree_util.tree_map_with_path(scale, updates), state

    return optax.GradientTransformation(check, update)


def _schedule(learning_rate: float, warmup_steps: int, decay_steps: int) -> float | optax.Schedule:
    if not known(warmup_steps) and not decay_steps:
        return lambda step: learning_rate * _risen(step, warmup_steps)
    if warmup_steps < 0 or decay_steps < 0 or 0 < decay_steps <= warmup_steps:
        raise FsbError(
            "warmup_steps and decay_steps must be at least 0, and decay_steps 0 or greater than "
            f"warmup_steps; got {warmup_steps} and {decay_steps}"
        )
    if decay_steps:
        return optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup_steps, decay_steps)
    if warmup_steps:
        return optax.linear_schedule(0.0, learning_rate, warmup_steps)
    return learning_rate


def _risen(step: Array | int, warmup_steps: Array | int) -> Array:
    """The share of the learning rate at a step, as ``optax.linear_schedule`` has it."""
    share = 1 - (1 - jnp.clip(step, 0, warmup_steps) / jnp.maximum(warmup_steps, 1))
    return jnp.where(warmup_steps > 0, share, 1.0)


def _within(name: str, value: float) -> None:
    if known(value) and not 0 <= value < 1:
        raise FsbError(f"{name} must be in [0, 1), got {value}")
