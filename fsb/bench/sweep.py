"""suite=sweep: members as one program against one run after another."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from fsb.bench.processes import TRAIN, watch
from fsb.bench.tables import Tables
from fsb.bench.timing import measure, paired, spread


def sweep(config: DictConfig) -> Tables:
    """Seconds of processes with start, compilation, evaluation and pictures included."""
    overrides = [*config.overrides, "compilation_cache=null"]
    with tempfile.TemporaryDirectory() as home:
        seconds = runs(Path(home), overrides, config.members, config.rounds)
    alone, together = seconds["a run alone"], seconds["all members"]
    times = [{"what": name, **spread(values)} for name, values in seconds.items()]
    ratio = {"what": "all members / one by one", "members": config.members}
    return {"times": times, "ratios": [ratio | paired(together, config.members * alone)]}


def runs(home: Path, overrides: list[str], count: int, rounds: int) -> dict[str, np.ndarray]:
    """The seconds of a run alone and of ``count`` members, [rounds] each, in turns."""
    number = itertools.count()
    grid = f"members={{seed: {list(range(count))}}}"

    def run(*more: str) -> None:
        watch(*TRAIN, *overrides, *more, f"hydra.run.dir={home}/{next(number)}")

    variants = {"a run alone": run, "all members": lambda: run(grid)}
    return measure(variants, rounds, before=0)
