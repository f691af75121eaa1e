"""python -m fsb.lab: bias, variance and cost of estimators, side by side on one problem.

All estimators draw with the same keys, and take turns: differences between them, in what they
estimate and in how long they take, have less error than the numbers themselves.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from hydra.core.hydra_config import HydraConfig
from jax.flatten_util import ravel_pytree
from omegaconf import DictConfig, OmegaConf

from fsb import runfolder, specimens
from fsb.compilation import compilation_cache
from fsb.config import build, program
from fsb.diagnostics import Moments, evaluations, exact_gradient, mixes_examples, moments, quality
from fsb.files import write_json_atomic
from fsb.gradients import init, stateful_value_and_grad
from fsb.lab_report import pictures, table, write_parameters
from fsb.log import MetricsFile
from fsb.problems import Problem
from fsb.progress import Progress
from fsb.schema import Lab
from fsb.sites import trace_sites
from fsb.types import Array, Estimator, FsbError, Loss, PyTree

THREADS = 2  # compilations at once; each uses one core


class Result(NamedTuple):
    """Of one estimator at one point.

    batches: moments of the draws.
    seconds: of a gradient, one a batch.
    evaluations: of the loss, for one gradient.
    """

    batches: list[Moments]
    seconds: list[float]
    evaluations: int


class Sizes(NamedTuple):
    """How much is drawn: ``batches`` times ``chunks * chunk_size``; what comes before it."""

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
    """``(params, key)`` -> control parameters and state after ``fit_steps`` estimates there."""
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
    """Every estimator at every point: step -> name -> result."""
    loss, key = problem.loss, jax.random.key(seed)
    fit_key, count_key, draw_key = jax.random.split(key, 3)
    params = next(iter(problem.points.values()))

    def compiled(estimator):
        fitted = jax.eval_shape(lambda: init(estimator, loss, params, key))
        draw = jax.jit(moments(estimator, loss, size.chunks, size.chunk_size))
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
    """One row an estimator, by variance: its quality, its cost and its time.

    Args:
      reference: the exact gradient [P], or the name of the estimator that stands for it.
      first: the estimator that times are compared with.
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
                # Draws without noise are all one, and the compiler makes it once.
                "milliseconds": 1e3 * float(np.median(seconds)) if noisy else math.nan,
                "time_ratio": float(np.median(seconds / base)) if noisy else math.nan,
            }
        )
    return sorted(made, key=lambda row: row["variance"])


def check(config: DictConfig) -> None:
    """Whether the estimators and the problem are there, and one can serve the other."""
    problem = build(config.problem, modules=config.modules)
    specimens.require_one(specimens.chosen(config), problem)


@program("lab", Lab, check)
def main(config: DictConfig) -> None:
    """Measure, print the table, and save it with its picture in a folder of its own."""
    compilation_cache(config.compilation_cache)
    problem = build(config.problem, modules=config.modules)
    estimators, refused = specimens.serving(specimens.chosen(config), problem)
    params = next(iter(problem.points.values()))
    if mixes_examples(problem.loss, params, jax.random.key(config.seed)):
        raise FsbError(
            "problem: the loss of one example depends on the samples of another (BatchNorm?), so "
            "that neither the exact gradient nor most estimators exist; use GroupNorm or LayerNorm"
        )
    exact = enumerable(problem, config.max_states)
    reference = "exact enumeration" if exact else config.reference
    if not exact:
        estimators |= specimens.reference(config, problem)
    size = sizes(config)
    found = measure(problem, estimators, size, config.seed)
    folder = specimens.new_folder(Path(HydraConfig.get().runtime.output_dir))
    results = MetricsFile(folder / "table.csv")
    first = "st" if "st" in estimators else next(iter(estimators))
    everything: dict[int, list[dict[str, Any]]] = {}
    for step, params in problem.points.items():
        true: Any = config.reference
        if exact:
            true = ravel_pytree(exact_gradient(problem.loss, params, config.max_states))[0]
        everything[step] = rows(found[step], true, first)
        for row in everything[step]:
            results.append({"step": step, **row})
        write_parameters(folder / "parameters.csv", step, params, found[step])
        print(table(everything[step], first, f"step {step}" if len(problem.points) > 1 else ""))
    for name, reason in refused.items():
        print(f"{name}: left out: {reason}")
    title = HydraConfig.get().runtime.choices["problem"]
    pictures(folder, everything, f"{title}, reference: {reference}", first)
    units = {site.name: list(jnp.shape(site.z)) for site in trace_sites(problem.loss, params)}
    plain: Any = OmegaConf.to_container(config)
    settings = {k: plain[k] for k in plain if k not in ("compilation_cache", "modules")}
    record = {"sites": units, "reference": reference, "left_out": refused, **settings}
    write_json_atomic(folder / "summary.json", record | runfolder.provenance())
    print(f"reference: {reference}; * bias of more than 4 standard errors")
    print(folder)


if __name__ == "__main__":
    main()
