"""python -m fsb.bench: the speed of the train step, as ratios within one interleaved run.

Every variant takes its turn in every round, so that what slows the machine slows all of them; a
ratio is the median over the rounds of the paired ratios. The turns are shuffled, so that nobody
always follows the same one (and its still spinning threads).
"""

from __future__ import annotations

import datetime
import importlib.util
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fsb import estimators, optimizers, parallel, runfolder
from fsb.config import program
from fsb.data.preprocess import Preprocess, dynamic
from fsb.files import write_json_atomic
from fsb.log import MetricsFile
from fsb.networks import BernoulliLikelihood, vae
from fsb.objectives import elbo
from fsb.progress import Progress
from fsb.schema import Count
from fsb.step import Recipe, TrainState, first_state, run_steps
from fsb.types import Array, Estimator, PyTree

SHAPE = (28, 28)
IMAGES = 2000

Chunk = Callable[[], None]
"""Runs one chunk of steps and waits for its end."""

BOUNDS = (
    ("foust / st", "foust", "st", 1.03),
    ("foust / no sampling", "foust", "no sampling", 1.10),
    ("foust / matrix products alone", "foust", "matrix products", 1 / 0.8),
    ("foust / eager PyTorch", "foust", "eager PyTorch", 1 / 1.2),
)
"""(what, numerator, denominator, at most): times of a step."""


@dataclass(frozen=True)
class Bench:
    """The keys of configs/bench.yaml, where each is explained."""

    rounds: Count
    steps: Count
    batch_size: Count
    layers: Count
    width: Count
    torch: bool
    modules: list[str]


def no_sampling() -> Estimator:
    """The same network without noise: every site at its mean, differentiated as it is."""

    def draw(noise, eta, dist):
        mean = dist.mean(eta)
        return mean, mean

    return estimators.local(draw)


VARIANTS: dict[str, Callable[[], Estimator]] = {
    "no sampling": no_sampling,
    "st": estimators.st,
    "deterministic_st": estimators.deterministic_st,
    "darn": estimators.darn,
    "foust": estimators.foust,
    "gumbel_softmax": estimators.gumbel_softmax,
    "st_gumbel_softmax": estimators.st_gumbel_softmax,
}


def images(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Random 8-bit images: what they show does not change the time."""
    return np.random.default_rng(0).integers(0, 256, (IMAGES, *shape), np.uint8)


def vae_chunk(config: DictConfig, estimator: Estimator) -> Chunk:
    """``steps`` train steps of the VAE that the configuration describes."""
    model = vae(SHAPE, BernoulliLikelihood(), layers=config.layers, width=config.width)
    return train_chunk(config, estimator, model, dynamic())


def train_chunk(
    config: DictConfig, estimator: Estimator, model: Any, preprocess: Preprocess
) -> Chunk:
    """``steps`` real train steps, as ``fsb.train`` runs them, of ``batch_size`` images each."""
    layout = parallel.layout(1)
    recipe = Recipe(
        model=model,
        objective=elbo(),
        preprocess=preprocess.apply,
        estimator=estimator,
        optimizer=optimizers.sgd(1e-4),
        control_optimizer=optimizers.adam(1e-3),
        layout=layout,
    )
    pool = images(model.shape)
    start = jax.jit(first_state, static_argnums=(0, 1), out_shardings=layout.replicated)
    state = start(recipe, 0, pool[: config.batch_size], jnp.full(model.shape, 0.5))
    return steps_chunk(recipe, state, pool, config.batch_size, config.steps)


def steps_chunk(
    recipe: Recipe, state: TrainState, pool: np.ndarray, batch_size: int, steps: int
) -> Chunk:
    """``steps`` train steps on random batches of stored images, which are on the device."""
    rows = np.random.default_rng(1).integers(0, len(pool), (steps, batch_size))
    stored = recipe.layout.replicate(pool)
    indices = recipe.layout.replicate(rows.astype(np.int32))

    def chunk():
        nonlocal state
        state = jax.block_until_ready(run_steps(recipe, state, stored, indices, steps))

    return chunk


def matrix_products(config: DictConfig) -> Chunk:
    """The matrix products of a step and nothing else, in one compiled loop as the steps are."""
    sizes = layer_sizes(config)
    keys = jax.random.split(jax.random.key(0), len(sizes) + 1)
    weights = tuple(
        jax.random.normal(key, size) / math.sqrt(size[0])
        for key, size in zip(keys[1:], sizes, strict=True)
    )
    x = jax.random.normal(keys[0], (config.batch_size, sizes[0][0]))

    def chunk():
        jax.block_until_ready(products_loop(weights, x, config.steps))

    return chunk


@jax.jit
def products_loop(weights: tuple[Array, ...], x: Array, count: Array) -> PyTree:
    """``count`` times the products forward, and backward in the weights and in the activations.

    The output of one turn is the input of the next, and the products in the weights are returned,
    so that none can be left out or taken out of the loop.

    Args:
      weights: of layers whose shapes chain, from those of x to those of x.
      x: [B, inputs].
    """

    def body(_, carry):
        inputs = [carry[0]]
        for weight in weights:
            inputs.append(inputs[-1] @ weight)
        output = cotangent = inputs.pop()
        products = []
        for layer in reversed(range(len(weights))):
            products.append(inputs[layer].T @ cotangent)
            if layer:  # nobody asks for the derivative in the data
                cotangent = cotangent @ weights[layer].T
        return output, tuple(reversed(products))

    return jax.lax.fori_loop(0, count, body, (x, weights))


def layer_sizes(config: DictConfig) -> list[tuple[int, int]]:
    """The weight matrices of the network, in an order in which their shapes chain."""
    width, pixels = config.width, int(np.prod(SHAPE))
    inner = [(width, width)] * (2 * 3 * config.layers - 2)
    return [(pixels, width), *inner, (width, pixels)]


def chunks(config: DictConfig) -> dict[str, Chunk]:
    """Every variant by name; PyTorch's where it is wanted and installed."""
    found = {name: vae_chunk(config, make()) for name, make in VARIANTS.items()}
    found["matrix products"] = matrix_products(config)
    if config.torch and importlib.util.find_spec("torch"):
        from fsb.bench_torch import train_chunk as torch_chunk

        found["eager PyTorch"] = torch_chunk(config, images())
    return found


def measure(variants: dict[str, Chunk], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of a chunk, [rounds] each, after two uncounted chunks each, which compile."""
    for chunk in variants.values():
        chunk()
        chunk()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    turns = np.random.default_rng(0)
    with Progress("bench", rounds) as bar:
        for number in range(rounds):
            for name in turns.permutation(list(variants)):
                start = time.perf_counter()
                variants[name]()
                seconds[name].append(time.perf_counter() - start)
            bar.update(number + 1)
    return {name: np.array(values) for name, values in seconds.items()}


def speeds(seconds: dict[str, np.ndarray], steps: int) -> list[dict[str, Any]]:
    """One row a variant: time of a step, and its ratio to straight-through's with quartiles."""
    rows = []
    for name, values in seconds.items():
        step = float(np.median(values)) / steps
        row = {"variant": name, "ms_per_step": 1e3 * step, "steps_per_second": 1 / step}
        rows.append(row | paired(values, seconds["st"]))
    return rows


def verdicts(seconds: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row a bound: the ratio with quartiles, and whether it is met; None if not measured."""
    rows = []
    for what, top, bottom, most in BOUNDS:
        row: dict[str, Any] = {"what": what, "at_most": most, "met": None, "ratio": None}
        if bottom in seconds:
            row |= paired(seconds[top], seconds[bottom])
            row["met"] = row["ratio"] <= most
        rows.append(row)
    return rows


def paired(top: np.ndarray, bottom: np.ndarray) -> dict[str, Any]:
    """Median and quartiles of the ratios within a round."""
    low, middle, high = np.quantile(top / bottom, (0.25, 0.5, 0.75)).tolist()
    return {"ratio": middle, "quartile_1": low, "quartile_3": high}


def show(speeds: list[dict[str, Any]], verdicts: list[dict[str, Any]]) -> str:
    """Both tables as text."""
    lines = [f"{'variant':32} {'ms/step':>8} {'steps/s':>8} {'/ st':>7}  (quartiles)"]
    for row in speeds:
        numbers = f"{row['ms_per_step']:8.2f} {row['steps_per_second']:8.0f} {row['ratio']:7.3f}"
        lines.append(f"{row['variant']:32} {numbers}  {_quartiles(row)}")
    lines += ["", f"{'ratio of times':32} {'median':>8} {'at most':>8}  (quartiles)"]
    for row in verdicts:
        if row["ratio"] is None:
            ratio, verdict = "-", "not measured: needs torch"
        else:
            ratio = f"{row['ratio']:.3f}"
            verdict = f"{_quartiles(row)} {'met' if row['met'] else 'NOT MET'}"
        lines.append(f"{row['what']:32} {ratio:>8} {row['at_most']:8.3f}  {verdict}")
    return "\n".join(lines)


def _quartiles(row: dict[str, Any]) -> str:
    return f"({row['quartile_1']:.3f}-{row['quartile_3']:.3f})"


@program("bench", Bench)
def main(config: Any) -> None:
    """Measure, print the tables, and save them in the folder of the run, in place of older ones."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    seconds = measure(chunks(config), config.rounds)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.csv").unlink(missing_ok=True)
    rows, bounds = speeds(seconds, config.steps), verdicts(seconds)
    table = MetricsFile(folder / "results.csv")
    for row in rows:
        table.append(row)
    origin = runfolder.provenance()
    if "eager PyTorch" in seconds:
        origin["versions"]["torch"] = metadata.version("torch")
    settings = {key: config[key] for key in ("rounds", "steps", "batch_size", "layers", "width")}
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_json_atomic(
        folder / "results.json",
        {"date": date, **settings, "bounds": bounds, "variants": rows, **origin},
    )
    print(show(rows, bounds))
    print(folder)


if __name__ == "__main__":
    main()
