"""suite=start: seconds to import, to print --help, and to the first train step."""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import jax
from omegaconf import DictConfig

from fsb.bench.processes import TRAIN, training, watch
from fsb.bench.tables import Tables
from fsb.bench.timing import measure, paired, spread
from fsb.runtime.xla import compilation_cache
from fsb.training.setup import assemble
from fsb.training.step import run_steps

FIRST_STEP = "import sys; from fsb.bench.start import first_step; first_step(sys.argv[1:])"


def start(config: DictConfig) -> Tables:
    """Seconds of fresh processes, which take turns, and their ratios to ``import jax``.

    The first step comes after the data, the parts and the first state; its cache of compiled
    programs is a new folder each time, or one that an earlier process has filled.
    """
    python, number = (sys.executable, "-c"), itertools.count()
    with tempfile.TemporaryDirectory() as home:
        first = lambda cache: watch(
            *python, FIRST_STEP, *config.overrides, f"compilation_cache={home}/{cache}"
        )
        first("filled")
        variants: dict[str, Callable[[], Any]] = {
            "import jax": lambda: watch(*python, "import jax"),
            "import fsb": lambda: watch(*python, "import fsb"),
            "python -m fsb.train --help": lambda: watch(*TRAIN, "--help"),
            "first step, empty cache": lambda: first(next(number)),
            "first step, filled cache": lambda: first("filled"),
        }
        seconds = measure(variants, config.rounds, before=0)
    base = seconds["import jax"]
    return {
        "times": [
            {"what": name, **spread(values), "to_import_jax": paired(values, base)["ratio"]}
            for name, values in seconds.items()
        ]
    }


def first_step(overrides: Sequence[str]) -> None:
    """One train step of the run that the overrides describe; nothing is written."""
    config = training(list(overrides))
    compilation_cache(config.compilation_cache)
    parts = assemble(config)
    state = parts.first_state()
    with parts.feed(config.steps_per_call) as batches:
        images, indices = batches(0, 1)
        jax.block_until_ready(run_steps(parts.recipe, state, images, indices, 1))
