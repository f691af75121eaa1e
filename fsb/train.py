"""python -m fsb.train: train a stochastic network, as configs/train.yaml and its groups say."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import jax
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fsb.cli.factory import build
from fsb.cli.program import program
from fsb.cli.saved import load_run_config
from fsb.cli.schema import Train
from fsb.data.stream import feed
from fsb.errors import FsbError
from fsb.networks.summary import summary
from fsb.runtime import devices
from fsb.runtime.interrupts import interrupts
from fsb.runtime.progress import Progress
from fsb.runtime.xla import compilation_cache
from fsb.storage import run_folder
from fsb.storage.atomic import write_text_atomic
from fsb.storage.checkpoints import Checkpoints
from fsb.storage.loggers import Logger
from fsb.training.recorder import Record
from fsb.training.setup import Parts, assemble, try_step
from fsb.training.step import run_steps

CHANGEABLE = (
    "resume",
    "max_steps",
    "steps_per_call",
    "checkpoint_every",
    "keep_last",
    "keep_best",
    "logger",
    "data.root",
    "devices",
    "distributed",
    "compilation_cache",
    "modules",
)
"""What may be given anew with resume=...; all else is the run's own."""


def check(config: DictConfig) -> Parts | None:
    """Whether the run could start: everything is built once, and one step traced."""
    if config.resume:
        load_run_config(config.resume, Train, config.modules)
        return None
    parts = assemble(config)
    try_step(parts)
    return parts


@program("train", Train, check)
def main(config: DictConfig, checked: Parts | None) -> None:
    """Train, then evaluate; everything goes into the run folder."""
    compilation_cache(config.compilation_cache)
    devices.join(**config.distributed)
    hydra = HydraConfig.get()
    if config.resume:
        folder = Path(config.resume).absolute()
        config = resumed(config, hydra.overrides.task)
        parts = assemble(config)
    else:
        parts = checked or assemble(config)
        chosen = any(".dir=" in override for override in hydra.overrides.hydra)
        folder = new_folder(Path(hydra.runtime.output_dir), exact=chosen)
    plain = OmegaConf.to_container(config, resolve=True)
    if jax.process_index() == 0:
        write_text_atomic(folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
        print(f"{config.model['_target_']}: {summary(parts.recipe.model, parts.data.shape)}")
    log = build(config, "logger", folder, plain)
    try:
        train(parts, config, folder, log)
    finally:
        log.finish()


def new_folder(path: Path, exact: bool) -> Path:
    """The run folder that process 0 makes, for all of them; see ``run_folder.new_run_folder``."""
    error, made = None, ""
    if jax.process_index() == 0:
        try:
            made = str(run_folder.new_run_folder(path, exact))
        except FsbError as refused:
            error = refused
    made = devices.from_first(made)
    if not made:
        raise error or FsbError("process 0 could not make the run folder")
    if Path(made) != path.absolute():
        with contextlib.suppress(OSError):
            path.rmdir()  # Hydra made it; it stays where it is not empty
    return Path(made)


def resumed(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration of the run to resume, with what may change taken from ``config``.

    Raises:
      FsbError: something else was given on the command line, or the run is past ``max_steps``.
    """
    saved = load_run_config(config.resume, Train, config.modules)
    OmegaConf.set_struct(saved, False)
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        home = next((name for name in CHANGEABLE if f"{key}.".startswith(f"{name}.")), None)
        if home is None:
            allowed = ", ".join(name for name in CHANGEABLE if name != "resume")
            raise FsbError(f"{key}: a resumed run goes on as it was; only {allowed} can change")
        OmegaConf.update(saved, home, OmegaConf.select(config, home), merge=False)
    saved.resume = None
    step = max(Checkpoints(Path(config.resume) / "checkpoints").steps(), default=0)
    if step > saved.max_steps:
        raise FsbError(f"max_steps={saved.max_steps}: the run is already at step {step}")
    return saved


def train(parts: Parts, config: DictConfig, folder: Path, log: Logger) -> None:
    """Trains until ``max_steps``, from the newest checkpoint in the folder if there is one.

    An interrupt ends it after the current chunk, its state saved, with exit code 128 + signal.
    """
    checkpoints = Checkpoints(folder / "checkpoints", config.keep_last, config.keep_best)
    state, step = parts.first_state(), 0
    if checkpoints.steps():
        state, step = checkpoints.restore(state)
    record = Record(parts, config, folder, log, step)
    with (
        feed(
            parts.data.train,
            parts.key("order"),
            parts.batch_size,
            config.steps_per_call,
            put=parts.recipe.layout.replicate,
        ) as batches,
        Progress(record.title, config.max_steps, step) as bar,
        interrupts() as asked,
    ):
        if not record.rows:
            state = record.evaluate(state, bar)
        stop = 0
        while step < config.max_steps and not (stop := devices.largest(asked.signal)):
            stops = (config.eval_every, config.checkpoint_every)
            left = [config.max_steps - step, *(every - step % every for every in stops)]
            count = min(config.steps_per_call, *left)
            sum_before = float(state.loss_sum)  # waits for the chunk before
            asked_at = time.monotonic()
            images, indices = batches(step, count)
            record.waited += time.monotonic() - asked_at
            state = run_steps(parts.recipe, state, images, indices, count)
            step += count
            bar.update(step, **{"train ELBO": (sum_before - float(state.loss_sum)) / count})
            last = step == config.max_steps
            if last or step % config.eval_every == 0:
                state = record.evaluate(state, bar)
            if last or step % config.checkpoint_every == 0:
                checkpoints.save(step, state, record.score)
        if step < config.max_steps:
            checkpoints.save(step, state, record.score)
    checkpoints.close()
    if step < config.max_steps:
        if jax.process_index() == 0:
            print(f"stopped at step {step}; to go on: python -m fsb.train resume={folder}")
        raise SystemExit(128 + stop)
    record.finish(state)


if __name__ == "__main__":
    main()
