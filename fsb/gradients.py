"""Computes a loss and its gradient with an estimator."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from fsb.errors import FsbError
from fsb.sites import bind, trace_sites
from fsb.types import Array, Estimator, Loss, PRNGKey, PyTree


class Gradients(NamedTuple):
    """The result of one estimate.

    value: mean of the losses, a scalar.
    params: estimate of the gradient of the expected value, shaped like the params.
    control: gradient of the estimator's own objective, shaped like its control parameters.
    state: the estimator's next state.
    metrics: scalars to log.
    """

    value: Float[Array, ""]
    params: PyTree
    control: PyTree
    state: PyTree
    metrics: dict[str, Array]


def init(estimator: Estimator, loss: Loss, params: PyTree, key: PRNGKey) -> tuple[PyTree, PyTree]:
    """Returns the estimator's initial ``(control, state)``, both empty for local estimators."""
    return estimator.init(key, trace_sites(loss, params))


def stateful_value_and_grad(estimator: Estimator, loss: Loss) -> Callable[..., Gradients]:
    """``value_and_grad`` for estimators with control parameters or state.

    The losses are differentiated with respect to the params with the control held constant, and the
    estimator's objective with respect to the control with the params held constant, so neither
    affects the other's gradient.

    Returns:
      A pure function ``(params, control, state, key) -> Gradients``.

    >>> import jax, jax.numpy as jnp, fsb
    >>> def loss(params, sample):
    ...     return (sample("b", fsb.Bernoulli(), params) ** 2).sum(-1)
    >>> params, key = jnp.zeros((4, 3)), jax.random.key(0)
    >>> estimator = fsb.darn()
    >>> control, state = fsb.init(estimator, loss, params, key)
    >>> out = fsb.stateful_value_and_grad(estimator, loss)(params, control, state, key)
    >>> out.params.shape, out.control, out.state
    ((4, 3), (), ())
    """

    def estimate(params, control, state, key):
        def value(params):
            losses, aux = estimator.surrogate(bind(loss, params), control, state, key)
            return losses.mean(), aux

        def objective(control):
            run = bind(loss, jax.lax.stop_gradient(params))
            _, aux = estimator.surrogate(run, control, state, key)
            return jnp.asarray(aux.objective, jnp.float32)

        (mean, aux), grads = jax.value_and_grad(value, has_aux=True)(params)
        # A second trace; the compiler shares what it has in common with the first.
        control_grads = jax.grad(objective)(control) if jax.tree.leaves(control) else control
        return Gradients(mean, grads, control_grads, aux.state, aux.metrics)

    return estimate


def value_and_grad(
    estimator: Estimator, loss: Loss
) -> Callable[..., tuple[Float[Array, ""], PyTree]]:
    """Like ``jax.value_and_grad``, with the gradient computed by an estimator.

    Args:
      estimator: an estimator without control parameters or state, such as ``fsb.foust()``.
      loss: ``loss(params, sample) -> losses [B]``, which samples with ``sample(name, dist, eta)``.

    Returns:
      A pure function ``(params, key) -> (value, grads)``: the mean loss of one run, and an estimate
      of the gradient of its expectation, for any pytree of params. It composes with ``jit``,
      ``vmap`` over keys, sharding and any Optax training loop.

    Raises:
      FsbError: when first called, if the estimator does not support a site, or has control
        parameters or state (then use ``stateful_value_and_grad``).

    >>> import jax, jax.numpy as jnp, fsb
    >>> def loss(params, sample):
    ...     return ((sample("b", fsb.Bernoulli(), params) - 0.45) ** 2).sum(-1)
    >>> value, grads = fsb.value_and_grad(fsb.foust(), loss)(jnp.zeros((8, 2)), jax.random.key(0))
    >>> value.shape, grads.shape
    ((), (8, 2))
    """

    def estimate(params, key):
        control, state = init(estimator, loss, params, key)
        if jax.tree.leaves((control, state)):
            raise FsbError("this estimator has state: use fsb.stateful_value_and_grad")
        out = stateful_value_and_grad(estimator, loss)(params, control, state, key)
        return out.value, out.params

    return estimate
