"""Computes a loss and its gradient with an estimator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from fsb.constraints import check_estimator_and_loss, check_key
from fsb.errors import FsbError
from fsb.estimators.local import ruled
from fsb.runtime.trees import differentiable
from fsb.sites import ancestral, bind, collect_sites, trace_sites
from fsb.types import Array, Estimator, Loss, PRNGKey, PyTree


class Gradients(NamedTuple):
    """The result of one estimate.

    value: mean of the losses, a scalar.
    params: estimate of the gradient of the expected value, shaped like the params, with None in
      place of leaves that are not differentiated.
    control: gradient of the estimator's own objective, shaped like its control parameters.
    state: the estimator's next state.
    metrics: scalars to log.
    aux: what the loss returned beside the losses, with ``has_aux``.
    """

    value: Float[Array, ""]
    params: PyTree
    control: PyTree
    state: PyTree
    metrics: dict[str, Array]
    aux: PyTree = ()


def init(
    estimator: Estimator, loss: Loss, params: PyTree, key: PRNGKey, has_aux: bool = False
) -> tuple[PyTree, PyTree]:
    """Returns the estimator's initial ``(control, state)``, both empty for local estimators."""
    check_estimator_and_loss("init", estimator, loss)
    check_key(key)
    return estimator.init(key, trace_sites(_losses_of(loss) if has_aux else loss, params))


def stateful_value_and_grad(
    estimator: Estimator, loss: Loss, has_aux: bool = False
) -> Callable[..., Gradients]:
    """``value_and_grad`` for estimators with control parameters or state.

    The losses are differentiated with respect to the params with the control held constant, and the
    estimator's objective with respect to the control with the params held constant, so neither
    affects the other's gradient.

    Args:
      estimator, loss, has_aux: as for ``value_and_grad``.

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

    check_estimator_and_loss("stateful_value_and_grad", estimator, loss)
    only_losses = _losses_of(loss) if has_aux else loss

    def estimate(params, control, state, key):
        check_key(key)
        leaves, rebuild = differentiable(params)

        def value(leaves):
            params = rebuild(leaves)
            losses, aux = estimator.surrogate(bind(only_losses, params), control, state, key)
            beside = _aux_of(estimator, loss, params, key) if has_aux else ()
            return losses.mean(), (aux, beside)

        def objective(control):
            run = bind(only_losses, rebuild(jax.lax.stop_gradient(leaves)))
            _, aux = estimator.surrogate(run, control, state, key)
            return jnp.asarray(aux.objective, jnp.float32)

        (mean, (aux, beside)), grads = jax.value_and_grad(value, has_aux=True)(leaves)
        # A second trace; the compiler shares what it has in common with the first.
        control_grads = jax.grad(objective)(control) if jax.tree.leaves(control) else control
        grads = rebuild(grads, None)
        return Gradients(mean, grads, control_grads, aux.state, aux.metrics, beside)

    return estimate


def _losses_of(loss: Loss) -> Loss:
    """The loss without what it returns beside the losses."""
    return lambda params, sample: _pair(loss(params, sample))[0]


def _aux_of(estimator: Estimator, loss: Loss, params: PyTree, key: PRNGKey) -> PyTree:
    """What the loss returns beside the losses, in one run with the noise of the estimate.

    For estimators of a single run it is the same run, which the compiler computes once.
    """
    sampler = ruled(estimator.rule, key) if estimator.rule else ancestral(key)
    return _pair(collect_sites(lambda sample: loss(params, sample), sampler)[0])[1]


def _pair(result: Any) -> tuple[Array, PyTree]:
    if not (isinstance(result, tuple) and len(result) == 2):
        raise FsbError("with has_aux=True, a loss must return a pair (losses [B], aux)")
    return result


def value_and_grad(
    estimator: Estimator, loss: Loss, has_aux: bool = False
) -> Callable[..., tuple[Any, PyTree]]:
    """Like ``jax.value_and_grad``, with the gradient computed by an estimator.

    Args:
      estimator: an estimator without control parameters or state, such as ``fsb.foust()``.
      loss: ``loss(params, sample) -> losses [B]``, which samples with ``sample(name, dist, eta)``.
      has_aux: whether the loss returns a pair ``(losses, aux)``. The aux is that of one run with
        the noise of the estimate: of the run itself if the estimator makes one, and of a further
        one if it makes several.

    Returns:
      A pure function ``(params, key) -> (value, grads)``: the mean loss of one run, and an estimate
      of the gradient of its expectation, for any pytree of params. It composes with ``jit``,
      ``vmap`` over keys, sharding and any Optax training loop. With ``has_aux`` it returns
      ``((value, aux), grads)``.

      If all leaves of the params are floating-point, the gradient is in all of them, as with
      ``jax.grad``. If some are integers, Booleans, keys or functions, as in an Equinox module, it
      is in the floating-point arrays, and None elsewhere, as with ``equinox.filter_grad``.

    Raises:
      FsbError: if the arguments are no estimator and no function; when first called, if the
        estimator does not support a site, or has control parameters or state (then use
        ``stateful_value_and_grad``), or if the losses are not [B].

    >>> import jax, jax.numpy as jnp, fsb
    >>> def loss(params, sample):
    ...     return ((sample("b", fsb.Bernoulli(), params) - 0.45) ** 2).sum(-1)
    >>> value, grads = fsb.value_and_grad(fsb.foust(), loss)(jnp.zeros((8, 2)), jax.random.key(0))
    >>> value.shape, grads.shape
    ((), (8, 2))
    """

    check_estimator_and_loss("value_and_grad", estimator, loss)

    def estimate(params, key):
        control, state = init(estimator, loss, params, key, has_aux)
        if jax.tree.leaves((control, state)):
            raise FsbError(
                "this estimator has state: use fsb.stateful_value_and_grad(estimator, loss)"
                "(params, control, state, key), and first "
                "control, state = fsb.init(estimator, loss, params, key)"
            )
        out = stateful_value_and_grad(estimator, loss, has_aux)(params, control, state, key)
        return (out.value, out.aux) if has_aux else out.value, out.params

    return estimate
