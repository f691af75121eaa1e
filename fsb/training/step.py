"""The train step, a pure function, and a compiled chunk of many steps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from fsb.constraints import described
from fsb.diagnostics import GradientMoments
from fsb.errors import FsbError
from fsb.gradients import Gradients, init, stateful_value_and_grad
from fsb.objectives import Objective
from fsb.runtime.devices import Layout
from fsb.types import Array, Estimator, Evidence, Loss, PyTree


class TrainState(NamedTuple):
    """Everything that a run needs to continue, and nothing that can be derived.

    step: the number of updates so far, int32.
    key: the base key of the run; the noise of a step is folded from it and the step.
    params, constants: the model's variables; the constants are not trained.
    opt_state: the optimiser's state.
    control, control_opt_state, state: the estimator's; empty for local estimators.
    loss_sum: the sum of the losses of the steps since the last evaluation, in nats.
    """

    step: Array
    key: Array
    params: PyTree
    constants: PyTree
    opt_state: PyTree
    control: PyTree
    control_opt_state: PyTree
    state: PyTree
    loss_sum: Array


class Recipe(NamedTuple):
    """The pure functions that make up a train step.

    model: a Flax module, ``apply(variables, x, sample) -> Evidence``.
    objective: ``objective(evidence, step) -> losses [B]``.
    preprocess: ``preprocess(key, stored images) -> x``, with fresh noise from the key.
    layout: the devices, over which a batch is split.
    """

    model: Any
    objective: Objective
    preprocess: Callable[[Array, Array], Array]
    estimator: Estimator
    optimizer: optax.GradientTransformation
    control_optimizer: optax.GradientTransformation
    layout: Layout

    def loss(self, constants: PyTree, x: Array, step: Array | int) -> Loss:
        """The loss of one batch at a step: ``loss(params, sample) -> losses [B]``.

        It hands the batch to the baselines that take a context.
        """

        def loss(params, sample):
            sample.context(x)
            evidence = self.model.apply({"params": params, "constants": constants}, x, sample)
            if not isinstance(evidence, Evidence):
                raise FsbError(
                    f"model: a network must return fsb.types.Evidence, not {described(evidence)}"
                )
            return self.objective(evidence, step)

        return loss


def first_state(recipe: Recipe, seed: Array | int, images: Array, mean: Array) -> TrainState:
    """The state before the first step.

    Args:
      images: a batch of stored images [B, ...]; only its shape matters.
      mean: the mean of the preprocessed training images, shaped like one of them.

    Raises:
      FsbError: if the model has variables other than params, constants and statistics, such as
        running averages; or if it mixes the examples of a batch, and the estimator assumes that
        they are independent.
    """
    key = jax.random.key(seed)
    params_key, control_key, data_key, run_key = jax.random.split(key, 4)
    x = recipe.preprocess(data_key, images)
    variables = recipe.model.init(params_key, x, lambda name, dist, eta: dist.mean(eta))
    if more := variables.keys() - {"params", "constants", "statistics"}:
        raise FsbError(
            f"the model has the variables {', '.join(sorted(more))}, which a run does not update: "
            "use GroupNorm or LayerNorm instead of BatchNorm"
        )
    if "statistics" in variables and recipe.estimator.rule is None:
        raise FsbError(
            "BatchNorm makes the losses of a batch depend on each other; only local estimators, "
            "such as st, darn and foust, are correct then; or choose model.norm=group"
        )
    params, constants = variables["params"], {"mean": mean}
    control, state = init(recipe.estimator, recipe.loss(constants, x, 0), params, control_key)
    return TrainState(
        step=jnp.int32(0),
        key=run_key,
        params=params,
        constants=constants,
        opt_state=recipe.optimizer.init(params),
        control=control,
        control_opt_state=recipe.control_optimizer.init(control),
        state=state,
        loss_sum=jnp.float32(0),
    )


def estimate(recipe: Recipe, train: TrainState, images: Array, key: Array) -> Gradients:
    """One gradient estimate on a batch of stored images [B, ...]."""
    data_key, sample_key = jax.random.split(key)
    images = jax.lax.with_sharding_constraint(images, recipe.layout.batched)
    loss = recipe.loss(train.constants, recipe.preprocess(data_key, images), train.step)
    return stateful_value_and_grad(recipe.estimator, loss)(
        train.params, train.control, train.state, sample_key
    )


def step(recipe: Recipe, train: TrainState, images: Array) -> TrainState:
    """One update on a batch of stored images [B, ...]."""
    out = estimate(recipe, train, images, jax.random.fold_in(train.key, train.step))
    updates, opt_state = recipe.optimizer.update(out.params, train.opt_state, train.params)
    control_updates, control_opt_state = recipe.control_optimizer.update(
        out.control, train.control_opt_state, train.control
    )
    return train._replace(
        step=train.step + 1,
        params=optax.apply_updates(train.params, updates),
        opt_state=opt_state,
        control=optax.apply_updates(train.control, control_updates),
        control_opt_state=control_opt_state,
        state=out.state,
        loss_sum=train.loss_sum + out.value.astype(jnp.float32),
    )


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def run_steps(
    recipe: Recipe, train: TrainState, images: Array, indices: Array | None, count: Array
) -> TrainState:
    """Runs ``count`` steps as one compiled program, on the batches that ``fsb.data.feed`` gives.

    ``count`` is not static: every chunk of a run runs the same executable, also a shorter last one,
    so the numbers depend neither on where the chunks end nor on the number of rows of ``indices``.

    Args:
      train: the state; it is donated.
      images: stored images [N, ...], or without indices batches of them [at least count, B, ...].
      indices: int32 [at least count, B]; the batch of step i is ``images[indices[i]]``.
    """

    def body(i, train):
        # The barrier ties the row and the constants to the step. Without it, the compiler takes a
        # single row for a constant of the loop and compiles the rest differently; and what it takes
        # out of the loop twice, it no longer knows to be the same in both traces of `estimate`.
        row = images[i] if indices is None else indices[i]
        tied = (row, train.step, train.constants)
        row, number, constants = jax.lax.optimization_barrier(tied)
        batch = row if indices is None else jnp.take(images, row, axis=0)
        after = step(recipe, train._replace(step=number, constants=constants), batch)
        return after._replace(constants=train.constants)

    return jax.lax.fori_loop(0, count, body, train)


def chunk_length(config: Any, step: int) -> int:
    """The number of steps from ``step`` to the next evaluation, checkpoint, or end, if sooner."""
    stops = (config.eval_every, config.checkpoint_every)
    left = [config.max_steps - step, *(every - step % every for every in stops)]
    return min(config.steps_per_call, *left)


@functools.partial(jax.jit, static_argnums=(0, 4))
def gradient_statistics(
    recipe: Recipe, train: TrainState, images: Array, key: Array, draws: int
) -> dict[str, Array]:
    """Norm and variance of the estimate on one batch, over new noise of data and sites.

    Returns:
      gradient_norm: the root mean square of |g| over the draws.
      gradient_variance: the trace of the covariance of g, from the unbiased variances.
    """

    def add(total, key):
        g = ravel_pytree(estimate(recipe, train, images, key).params)[0].astype(jnp.float32)
        return total.merge(GradientMoments(jnp.float32(1), g, jnp.zeros_like(g))), g @ g

    zero = jnp.zeros(ravel_pytree(train.params)[0].shape, jnp.float32)
    start = GradientMoments(jnp.float32(0), zero, zero)
    total, squared = jax.lax.scan(add, start, jax.random.split(key, draws))
    return {
        "gradient_norm": jnp.sqrt(squared.mean()),
        "gradient_variance": total.squared_deviations.sum() / (draws - 1),
    }
