"""python -m fsb.train: train a stochastic network, as configs/train.yaml and its groups say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import jax
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fsb.cli.factory import require_buildable
from fsb.cli.program import program
from fsb.cli.schema import Train
from fsb.errors import FsbError
from fsb.runtime.interrupts import interrupts
from fsb.runtime.memory import require_memory
from fsb.runtime.profile import Profile
from fsb.storage.checkpoints import Checkpoints
from fsb.storage.loggers import require_package
from fsb.training.launch import open_run, require_same, resumed
from fsb.training.members_run import assemble_members, train_members
from fsb.training.recorder import Recorder
from fsb.training.results import affordable
from fsb.training.setup import Parts, assemble, try_step
from fsb.training.step import chunk_length, run_steps


def check(config: DictConfig) -> tuple[DictConfig, Any]:
    """Builds the run and traces one step, so that what cannot work is refused at the start."""
    if config.resume is not None:
        config = resumed(config, HydraConfig.get().overrides.task)
    require_package(config.logger)
    require_buildable(config, "logger", "folder", {})
    if config.get("members") is not None:
        return config, assemble_members(config)
    parts = assemble(config)
    if config.get("gradient_draws") == 1:
        raise FsbError("gradient_draws=1: a variance needs two or more; 0 leaves it out")
    config = cast(DictConfig, OmegaConf.merge(config, affordable(parts, cast(dict, config))))
    require_same(cast(dict, OmegaConf.to_container(config)))
    try_step(parts)
    return config, parts


@program("train", Train, check)
def main(config: DictConfig, checked: Any) -> None:
    """Train, then evaluate; all results go into the run folder."""
    config, parts = checked or check(config)
    if config.get("members") is not None:
        train_members(config, parts)
        return
    with open_run(config, parts) as (folder, log):
        train(parts, config, folder, log)


def train(parts: Parts, config: DictConfig, folder: Path, log: Any) -> None:
    """Trains until ``max_steps``, from the newest checkpoint in the folder if there is one.

    A signal ends it after the current chunk: the state is saved, the exit code is 128 + signal.

    Raises:
      Diverged: if the loss is not finite or has grown beyond all measure (``on_divergence=stop``).
    """
    checkpoints = Checkpoints(folder / "checkpoints", config.keep_last, config.keep_best)
    state, step = parts.first_state(), 0
    if checkpoints.steps():
        state, step = checkpoints.restore(state)
    with (
        Recorder(parts, config, folder, log, step) as record,
        parts.feed(config.steps_per_call) as batches,
        interrupts() as asked,
        Profile(folder / "profile", config.get("profile")) as profile,
    ):
        if not record.rows:
            state = record.log_row(state)
        stop, first = 0, step
        while step < config.max_steps and not (stop := asked.agreed()):
            count = chunk_length(config, step)
            sum_before = float(state.loss_sum)  # waits for the chunk before
            with record.waiting():
                images, indices = batches(step, count)
            if step == first:
                require_memory(run_steps, parts.recipe, state, images, indices, count)
            profile.before(step)
            state = run_steps(parts.recipe, state, images, indices, count)
            step += count
            profile.after(step, state)
            record.show(step, (sum_before - float(state.loss_sum)) / count)
            last = step == config.max_steps
            if last or step % config.eval_every == 0:
                state = record.log_row(state)
            if last or step % config.checkpoint_every == 0:
                with asked.saving():
                    checkpoints.save(step, state, record.score)
        if step < config.max_steps:
            with asked.saving():
                checkpoints.save(step, state, record.score)
    checkpoints.close()
    if step < config.max_steps:
        profile.tell()
        if jax.process_index() == 0:
            print(f"stopped at step {step}; to go on: python -m fsb.train resume={folder}")
        raise SystemExit(128 + stop)
    record.finish(state)
    profile.tell()


if __name__ == "__main__":
    main()
