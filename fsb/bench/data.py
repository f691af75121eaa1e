"""suite=data: how fast images are opened and fed, and what share of a run waits for them."""

from __future__ import annotations

import itertools
import time
from typing import Any

import jax
import numpy as np
from omegaconf import DictConfig

from fsb.bench.processes import training
from fsb.bench.tables import Row, Tables
from fsb.bench.timing import measure, spread
from fsb.bench.variants import SHAPE, Chunk, images
from fsb.cli.factory import build
from fsb.data import feed
from fsb.runtime.xla import compilation_cache
from fsb.training.setup import Parts, assemble
from fsb.training.step import run_steps

FEEDS = {"device": 2**62, "thread": 0}
"""Bytes of images up to which a feed keeps them on the device, else a thread gathers them."""
SHAPES = (SHAPE, (64, 64, 3))  # of random images


def data(config: DictConfig) -> Tables:
    """Images and megabytes a second, and the share of steps that waits for a batch."""
    run = training(list(config.overrides))
    compilation_cache(run.compilation_cache)
    parts = assemble(run)
    name, train = parts.data.name, parts.data.train
    opened = {f"open {name}": (lambda: build(run, "data"), len(train), train.nbytes)}
    fed = {}
    for shape in SHAPES:
        pool = images(shape)
        for kind in FEEDS:
            count = config.steps * config.batch_size
            size = count * pool[0].nbytes
            what = f"{'x'.join(map(str, shape))} from the {kind}"
            fed[what] = feeding(config, pool, kind), count, size
    rates = rows(opened, min(config.rounds, 3)) + rows(fed, config.rounds)
    return {"rates": rates, "waiting": [waiting(parts, config, kind) for kind in FEEDS]}


def rows(variants: dict[str, tuple[Any, int, int]], rounds: int) -> list[Row]:
    """One row for each variant (chunk, its images, its bytes)."""
    seconds = measure({what: chunk for what, (chunk, *_) in variants.items()}, rounds)
    found = []
    for what, (_, count, size) in variants.items():
        row = {"what": what, **spread(seconds[what])}
        time = row["seconds"]
        found.append(row | {"images_per_second": count / time, "mb_per_second": size / time / 1e6})
    return found


def feeding(config: DictConfig, pool: np.ndarray, kind: str) -> Chunk:
    """One chunk of ``steps`` batches, ready on the device."""
    source = feed(pool, jax.random.key(0), config.batch_size, config.steps, FEEDS[kind])
    begin = itertools.count(0, config.steps)

    def chunk() -> None:
        jax.block_until_ready(source(next(begin), config.steps))

    return chunk


def waiting(parts: Parts, config: DictConfig, kind: str) -> Row:
    """The share of the time of ``rounds`` chunks in which a run waits for its images."""
    recipe, state, waited = parts.recipe, parts.first_state(), 0.0
    key, put = parts.key("order"), recipe.layout.replicate
    limit, steps = FEEDS[kind], config.steps
    with feed(parts.data.train, key, parts.batch_size, steps, limit, put) as batches:
        begun = time.perf_counter()
        for number in range(-2, config.rounds):  # two to compile
            if number == 0:
                begun, waited = time.perf_counter(), 0.0
            asked = time.perf_counter()
            taken = batches((number + 2) * steps, steps)
            waited += time.perf_counter() - asked
            state = jax.block_until_ready(run_steps(recipe, state, *taken, steps))
        whole = time.perf_counter() - begun
    step = 1e3 * whole / (config.rounds * steps)
    return {"feed": f"from the {kind}", "ms_per_step": step, "share_waiting": waited / whole}
