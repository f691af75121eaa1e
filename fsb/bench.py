"""python -m fsb.bench: the speed of the train step, as ratios within one interleaved run.

Every variant takes its turn in every round, so that what slows the machine slows all of them; a
ratio is the median over the rounds of the paired ratios.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fsb import estimators, optimizers, parallel, runfolder
from fsb.config import program
from fsb.data.preprocess import dynamic
from fsb.files import write_json_atomic
from fsb.log import MetricsFile
from fsb.networks import BernoulliLikelihood, vae
from fsb.objectives import elbo
from fsb.progress import Progress
from fsb.schema import Count
from fsb.step import Recipe, first_state, run_steps
from fsb.types import Array, Estimator

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

    def rule(key, eta, dist):
        mean = dist.mean(eta)
        return mean, mean

    return estimators.local(rule)


VARIANTS: dict[str, Callable[[], Estimator]] = {
    "no sampling": no_sampling,
    "st": estimators.st,
    "deterministic_st": estimators.deterministic_st,
    "darn": estimators.darn,
    "foust": estimators.foust,
    "gumbel_softmax": estimators.gumbel_softmax,
    "st_gumbel_softmax": estimators.st_gumbel_softmax,
}


def images(config: DictConfig) -> np.ndarray:
    """Random 8-bit images: what they show does not change the time."""
    return np.random.default_rng(0).integers(0, 256, (IMAGES, *SHAPE), np.uint8)


def train_chunk(config: DictConfig, estimator: Estimator) -> Chunk:
    """``steps`` real train steps, as ``fsb.train`` runs them."""
    layout = parallel.layout(1)
    recipe = Recipe(
        model=vae(SHAPE, BernoulliLikelihood(), layers=config.layers, width=config.width),
        objective=elbo(),
        preprocess=dynamic().apply,
        estimator=estimator,
        optimizer=optimizers.sgd(1e-4),
        control_optimizer=optax.adam(1e-3),
        layout=layout,
    )
    pool = layout.replicate(images(config))
    rows = np.random.default_rng(1).integers(0, IMAGES, (config.steps, config.batch_size))
    indices = layout.replicate(rows.astype(np.int32))
    start = jax.jit(first_state, static_argnums=(0, 1), out_shardings=layout.replicated)
    state = start(recipe, 0, pool[: config.batch_size], jnp.full(SHAPE, 0.5))

    def chunk():
        nonlocal state
        state = jax.block_until_ready(run_steps(recipe, state, pool, indices, config.steps))

    return chunk


def matrix_products(config: DictConfig) -> Chunk:
    """The matrix products of a step and nothing else: forward, and both backward ones.

    They run in one compiled loop like the steps do; the products with respect to the weights are
    the next weights (scaled, so that they stay finite), so none can be left out.
    """
    sizes = layer_sizes(config)
    keys = jax.random.split(jax.random.key(0), len(sizes) + 1)
    weights = tuple(0.05 * jax.random.normal(k, s) for k, s in zip(keys[1:], sizes, strict=True))
    x = jax.random.normal(keys[0], (config.batch_size, sizes[0][0]))

    def body(_: int, weights: tuple[Array, ...]) -> tuple[Array, ...]:
        inputs = [x]
        for weight in weights:
            inputs.append(inputs[-1] @ weight)
        cotangent = inputs.pop()
        products = []
        for layer in reversed(range(len(weights))):
            products.append(1e-6 * (inputs[layer].T @ cotangent))
            if layer:  # nobody asks for the derivative in the data
                cotangent = cotangent @ weights[layer].T
        return tuple(reversed(products))

    loop = jax.jit(lambda weights, count: jax.lax.fori_loop(0, count, body, weights))

    def chunk():
        jax.block_until_ready(loop(weights, config.steps))

    return chunk


def layer_sizes(config: DictConfig) -> list[tuple[int, int]]:
    """The weight matrices of the network, in an order in which their shapes chain."""
    width, pixels = config.width, int(np.prod(SHAPE))
    inner = [(width, width)] * (2 * 3 * config.layers - 2)
    return [(pixels, width), *inner, (width, pixels)]


def chunks(config: DictConfig) -> dict[str, Chunk]:
    """Every variant by name, PyTorch's only where it is installed."""
    found = {name: train_chunk(config, make()) for name, make in VARIANTS.items()}
    found["matrix products"] = matrix_products(config)
    if config.torch:
        try:
            from fsb.bench_torch import train_chunk as torch_chunk
        except ModuleNotFoundError:
            print("eager PyTorch: left out, for torch is not installed")
        else:
            found["eager PyTorch"] = torch_chunk(config, images(config))
    return found


def measure(variants: dict[str, Chunk], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of a chunk, [rounds] each, the variants in turn after one uncounted chunk each."""
    for chunk in variants.values():
        chunk()
        chunk()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    with Progress("bench", rounds) as bar:
        for number in range(rounds):
            for name, chunk in variants.items():
                start = time.perf_counter()
                chunk()
                seconds[name].append(time.perf_counter() - start)
            bar.update(number + 1)
    return {name: np.array(values) for name, values in seconds.items()}


@program("bench", Bench)
def main(config: Any) -> None:
    """Measure, print the table, and save it in the folder of the run."""
    seconds = measure(chunks(config), config.rounds)
    folder = runfolder.new_run_folder(Path(HydraConfig.get().runtime.output_dir))
    table = MetricsFile(folder / "results.csv")
    print(f"{'variant':24} {'ms/step':>8} {'steps/s':>8} {'/ st':>7}  (quartiles)")
    for name, values in seconds.items():
        step = float(np.median(values)) / config.steps
        low, middle, high = np.quantile(values / seconds["st"], (0.25, 0.5, 0.75))
        row = {"variant": name, "ms_per_step": 1e3 * step, "steps_per_second": 1 / step}
        table.append(row | {"ratio_to_st": middle, "quartile_1": low, "quartile_3": high})
        print(f"{name:24} {1e3 * step:8.2f} {1 / step:8.0f} {middle:7.3f}  ({low:.3f}-{high:.3f})")
    bounds = []
    for what, top, bottom, most in BOUNDS:
        if bottom in seconds:
            ratio = float(np.median(seconds[top] / seconds[bottom]))
            bounds.append({"what": what, "ratio": ratio, "at_most": most, "met": ratio <= most})
            verdict = "met" if ratio <= most else "NOT MET"
            print(f"{what:32} {ratio:6.3f}  at most {most:.3f}  {verdict}")
    settings = {key: config[key] for key in ("rounds", "steps", "batch_size", "layers", "width")}
    write_json_atomic(
        folder / "results.json", {"bounds": bounds, **settings, **runfolder.provenance()}
    )
    print(folder)


if __name__ == "__main__":
    main()
