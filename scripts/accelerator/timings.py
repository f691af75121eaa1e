"""The time of train steps, of several estimators in one interleaved run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from bench_sweep import chunk_of
from utilisation import operations

import fsb.estimators
from accelerator.plan import Timing
from fsb.bench.timing import measure, paired
from fsb.bench.variants import Chunk, images, no_sampling
from fsb.cli.members import members
from fsb.cli.program import preflight
from fsb.cli.schema import Train
from fsb.data import Dataset
from fsb.data.preprocess import choose
from fsb.errors import first_line
from fsb.training.members import Programs, batches, block
from fsb.training.setup import assemble
from fsb.types import Estimator

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "TPU v4": 275e12}
PEAKS |= {"TPU v5 lite": 197e12, "TPU v5": 459e12, "TPU v6 lite": 918e12}
"""Operations a second in bfloat16, as the makers state them, by a part of the device's name."""

ROUNDS, STEPS = 10, 20


def time_steps(item: Timing, miniature: bool) -> list[dict[str, Any]]:
    """A row for each variant, with an ``error`` where it could not be run."""
    words = [*item.settings.split(), *(item.small.split() if miniature else ()), "devices=1"]
    shape = (8, 8, *item.shape[2:]) if miniature else item.shape
    steps, rounds = (1, 1) if miniature else (STEPS, ROUNDS)
    (config,) = preflight("train", words, Train)
    parts = assemble(config, data=noise(shape))
    chunks, rows = {}, {}
    for name in item.variants:
        of_it = parts._replace(recipe=parts.recipe._replace(estimator=estimator(name)))
        add(chunks, rows, name, lambda of_it=of_it: chunk_of(of_it, steps))
    if item.members:
        grid = "{seed:[0,1]}" if miniature else item.members
        (config,) = preflight("train", [*words, f"members={grid}"], Train)
        found = members(config)
        name = f"{len(found)} members"
        add(chunks, rows, name, lambda: members_chunk(block(parts, found), steps))
    seconds = measure(chunks, rounds)
    first = next(iter(chunks), None)
    count = operations(parts) if len(shape) == 3 else None
    for name, values in seconds.items():
        step = float(np.median(values)) / steps
        rows[name] |= {"ms_per_step": 1e3 * step, "images_per_second": parts.batch_size / step}
        if item.epoch:
            rows[name]["seconds_per_epoch"] = step * (item.epoch // parts.batch_size)
        if count is not None:
            rows[name] |= {"operations_per_step": count} | utilised(count / step)
        rows[name] |= {"ratio_to": first, **paired(values, seconds[first])}
    if item.members and name in seconds:
        rows[name]["of_one_by_one"] = rows[name]["ratio"] / len(found)
    return list(rows.values())


def add(chunks: dict[str, Chunk], rows: dict[str, dict], name: str, make: Callable) -> None:
    """Puts a variant among those to be timed, once it has run."""
    rows[name] = {"variant": name}
    try:
        chunk = make()
        chunk()
        chunks[name] = chunk
    except Exception as error:  # out of memory, say; the others are timed
        rows[name]["error"] = first_line(error)


@functools.cache
def estimator(name: str) -> Estimator:
    """The estimator of a variant such as "rloo samples=3"."""
    if name == "no sampling":
        return no_sampling()
    factory, *settings = name.split()
    pairs = (setting.split("=") for setting in settings)
    return getattr(fsb.estimators, factory)(**{key: int(value) for key, value in pairs})


def noise(shape: tuple[int, ...]) -> Dataset:
    """Random images: what they show does not change the time."""
    random = images(shape)
    binarisation = choose("dequantised" if len(shape) == 3 else "dynamic")
    return Dataset("noise", random, random[:1], random[:1], binarisation)


def members_chunk(together: Any, steps: int) -> Chunk:
    """``steps`` train steps of all members."""
    programs, parts = Programs(together), together.parts
    stored, probe = map(parts.recipe.layout.replicate, (parts.data.train, parts.probe))
    settings, seeds = map(programs.put, (together.settings, together.seeds))
    rows = programs.put_rows(batches(together, steps)(0, steps))
    states = programs.first(settings, seeds, probe, parts.data.mean)

    def chunk() -> None:
        nonlocal states
        states = jax.block_until_ready(programs.run(settings, states, stored, rows, steps))

    return chunk


def utilised(speed: float) -> dict[str, float]:
    """The share of the device's peak, where it is known."""
    kind = jax.devices()[0].device_kind
    peak = next((value for part, value in PEAKS.items() if part in kind), None)
    return {"model_flop_utilisation": speed / peak} if peak else {}
