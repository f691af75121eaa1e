"""Bias, variance and cost of estimators, measured side by side."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from omegaconf import DictConfig

from fsb.diagnostics import GradientMoments, evaluations, exact_gradient, gradient_moments, quality
from fsb.errors import FsbError
from fsb.gradients import init, stateful_value_and_grad
from fsb.lab.problems import Problem
from fsb.runtime.progress import Progress
from fsb.types import Array, Estimator, Loss, PyTree

THREADS = 2  # compilations at once; each uses one core


class Result(NamedTuple):
    """The measurements of one estimator at one point.

    batches: the moments of the draws, for each batch.
    seconds: the time of a gradient, for each batch.
    evaluations: how often one gradient evaluates the loss.
    """

    batches: list[GradientMoments]
    seconds: list[float]
    evaluations: int


class Sizes(NamedTuple):
    """``batches`` times ``chunks * chunk_size`` draws, after ``fit_steps`` steps of fitting."""

    batches: int
    chunks: int
    chunk_size: int
    fit_steps: int
    learning_rate: float


def sizes(config: DictConfig) -> Sizes:
    chunk = min(config.chunk_size, config.draws)
    chunks = math.ceil(config.draws / chunk)
    return Sizes(config.batches, chunks, chunk, config.fit_steps, config.fit_learning_rate)


def fitting(
    estimator: Estimator, loss: Loss, size: Sizes
) -> Callable[[PyTree, Array], tuple[PyTree, PyTree]]:
    """A function ``(params, key)`` to the control and state after ``fit_steps`` estimates."""
    optimizer = optax.adam(size.learning_rate)
    estimate = stateful_value_and_grad(estimator, loss)

    @jax.jit
    def fit(params, key):
        control, state = init(estimator, loss, params, key)
        if not jax.tree.leaves((control, state)):
            return control, state

        def body(i, carry):
            control, state, opt_state = carry
            out = estimate(params, control, state, jax.random.fold_in(key, i))
            updates, opt_state = optimizer.update(out.control, opt_state, control)
            return optax.apply_updates(control, updates), out.state, opt_state

        start = (control, state, optimizer.init(control))
        return jax.lax.fori_loop(0, size.fit_steps, body, start)[:2]

    return fit


def measure(
    problem: Problem, estimators: dict[str, Estimator], size: Sizes, seed: int
) -> dict[int, dict[str, Result]]:
    """Measures every estimator at every point; returns the results by step and name."""
    loss, key = problem.loss, jax.random.key(seed)
    fit_key, count_key, draw_key = jax.random.split(key, 3)
    params = next(iter(problem.points.values()))

    def compiled(estimator):
        fitted = jax.eval_shape(lambda: init(estimator, loss, params, key))
        draw = jax.jit(gradient_moments(estimator, loss, size.chunks, size.chunk_size))
        count = evaluations(estimator, loss, params, count_key)
        return draw.lower(params, fitted, key).compile(), count

    with Progress("compile", len(estimators)) as bar, ThreadPoolExecutor(THREADS) as pool:
        programs, counts = {}, {}
        for name, made in zip(estimators, pool.map(compiled, estimators.values()), strict=True):
            programs[name], counts[name] = made
            bar.update(len(programs), estimator=name)
    fits = {name: fitting(estimator, loss, size) for name, estimator in estimators.items()}
    found: dict[int, dict[str, Result]] = {}
    turns = np.random.default_rng(seed)
    with Progress("measure", size.batches * len(problem.points)) as bar:
        for number, (step, params) in enumerate(problem.points.items()):
            fitted = {name: fit(params, fit_key) for name, fit in fits.items()}
            found[step] = {name: Result([], [], counts[name]) for name in estimators}
            for batch in range(size.batches):
                batch_key = jax.random.fold_in(draw_key, batch)
                for name in turns.permutation(list(estimators)):
                    start = time.perf_counter()
                    out = jax.block_until_ready(programs[name](params, fitted[name], batch_key))
                    taken = time.perf_counter() - start
                    found[step][name].seconds.append(taken / (size.chunks * size.chunk_size))
                    found[step][name].batches.append(jax.tree.map(np.asarray, out))
                bar.update(number * size.batches + batch + 1, at=f"step {step}")
    return found


def enumerable(problem: Problem, max_states: int) -> bool:
    """Whether the sites have at most ``max_states`` joint states."""
    params = next(iter(problem.points.values()))
    try:
        jax.eval_shape(lambda: exact_gradient(problem.loss, params, max_states))
    except FsbError:
        return False
    return True


def rows(found: dict[str, Result], reference: Any, first: str) -> list[dict[str, Any]]:
    """One row for each estimator, sorted by variance: its quality, its cost and its time.

    Args:
      found: the results by name.
      reference: the exact gradient [P], or the name of the estimator that replaces it.
      first: the estimator whose time is the unit.
    """
    base = np.array(found[first].seconds)
    if isinstance(reference, str):
        reference = [batch.mean for batch in found[reference].batches]
    strength = float(np.linalg.norm(np.mean(np.atleast_2d(reference), 0)))
    made = []
    for name, result in found.items():
        found_quality = quality(result.batches, reference)
        noisy = found_quality.variance > 0
        percent = 100 / strength if strength else math.nan
        seconds = np.array(result.seconds)
        made.append(
            {
                "estimator": name,
                "evaluations": result.evaluations,
                **dataclasses.asdict(found_quality),
                "bias_percent": percent * found_quality.bias,
                "bias_error_percent": percent * found_quality.bias_error,
                # Without noise all draws are equal, and the compiler computes only one.
                "milliseconds": 1e3 * float(np.median(seconds)) if noisy else math.nan,
                "time_ratio": float(np.median(seconds / base)) if noisy else math.nan,
            }
        )
    return sorted(made, key=lambda row: row["variance"])
