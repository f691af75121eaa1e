"""python -m fsb.bench: what a train step costs, as ratios within one interleaved run.

Every variant runs once in every round, so that whatever slows the machine slows all of them; a
ratio is the median over the rounds of the paired ratios. The order within a round is random, so
that no variant always follows the same one (whose threads may still be spinning).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fsb.bench.count import count
from fsb.bench.data import data
from fsb.bench.estimators import estimators
from fsb.bench.memory import memory
from fsb.bench.nets import require_nets
from fsb.bench.peers import peers, require_torch
from fsb.bench.processes import training
from fsb.bench.scaling import require_grid, scaling
from fsb.bench.start import start
from fsb.bench.step import step
from fsb.bench.sweep import sweep
from fsb.bench.tables import Tables, markdown, save
from fsb.bench.variants import chosen
from fsb.cli.program import program
from fsb.cli.schema import Bench

SUITES: dict[str, Callable[[DictConfig], Tables]] = {
    suite.__name__: suite
    for suite in (step, estimators, peers, sweep, start, memory, data, count, scaling)
}


def check(config: DictConfig) -> None:
    """Refuses what cannot be measured, before anything is."""
    chosen(config.estimators)
    require_nets(config.nets)
    require_grid(config)
    if config.suite == "peers":
        require_torch()
    if config.overrides:
        training(list(config.overrides))


@program("bench", Bench, check)
def main(config: DictConfig, checked: None) -> None:
    """Measure, print the tables, and save them in the run folder in place of older ones."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    command = " ".join(["python -m fsb.bench", *hydra.overrides.task])
    settings: Any = OmegaConf.to_container(config)
    del settings["modules"]
    tables = SUITES[config.suite](config)
    save(folder, settings, tables, command)
    print(markdown(tables))
    print(folder)


if __name__ == "__main__":
    main()
