"""Where a run writes, and how an existing run goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import jax
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fsb.cli.factory import build
from fsb.cli.saved import load_run_config
from fsb.cli.schema import Train
from fsb.errors import FsbError
from fsb.networks.summary import summary
from fsb.runtime.devices import from_first
from fsb.runtime.xla import compilation_cache
from fsb.storage.atomic import write_text_atomic
from fsb.storage.checkpoints import Checkpoints
from fsb.storage.loggers import Logger
from fsb.storage.run_folder import new_run_folder
from fsb.training.setup import Parts

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
"""The keys that may be given with resume=...; all others stay as the run has them."""

OF_THIS_PROCESS = ("distributed", "compilation_cache", "modules")
"""The keys that are never taken from a saved configuration."""


def resumed(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration of the run ``config.resume``, with the changes of the command line.

    Args:
      config: the configuration that was composed from the command line.
      overrides: the overrides of the command line.

    Raises:
      FsbError: if an override may not change, or the run is already past ``max_steps``.
    """
    saved = load_run_config(config.resume, Train, config.modules)
    OmegaConf.set_struct(saved, False)
    for name in OF_THIS_PROCESS:
        OmegaConf.update(saved, name, OmegaConf.select(config, name), merge=False)
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        home = next((name for name in CHANGEABLE if f"{key}.".startswith(f"{name}.")), None)
        if home is None:
            allowed = ", ".join(name for name in CHANGEABLE if name != "resume")
            raise FsbError(f"{key}: a resumed run keeps its settings; only {allowed} can change")
        OmegaConf.update(saved, home, OmegaConf.select(config, home), merge=False)
    step = max(Checkpoints(Path(config.resume) / "checkpoints").steps(), default=0)
    if step > saved.max_steps:
        raise FsbError(f"max_steps={saved.max_steps}: the run is already at step {step}")
    saved.resume = config.resume
    return saved


def open_run(config: DictConfig, parts: Parts) -> tuple[Path, Logger]:
    """Makes the run folder, or opens that of the run to resume, and writes config.yaml there.

    Returns:
      The run folder and the logger.

    Raises:
      FsbError: if the folder cannot be made, or holds something already.
    """
    compilation_cache(config.compilation_cache)
    hydra = HydraConfig.get()
    chosen = any(".dir=" in override for override in hydra.overrides.hydra)
    if config.resume:
        folder = Path(config.resume).absolute()
    else:
        folder = new_folder(Path(hydra.runtime.output_dir), exact=chosen)
    record = OmegaConf.merge(config, {"resume": None})
    if jax.process_index() == 0:
        write_text_atomic(folder / "config.yaml", OmegaConf.to_yaml(record, resolve=True))
        print(f"{config.model['_target_']}: {summary(parts.recipe.model, parts.data.shape)}")
    plain = OmegaConf.to_container(record, resolve=True)
    return folder, build(config.logger, folder, plain, modules=config.modules)


def new_folder(path: Path, exact: bool) -> Path:
    """The run folder, which process 0 makes for all of them; see ``new_run_folder``."""
    error, made = None, ""
    if jax.process_index() == 0:
        try:
            made = str(new_run_folder(path, exact))
        except FsbError as refused:
            error = refused
    made = from_first(made)
    if not made:
        raise error or FsbError("process 0 could not make the run folder")
    if Path(made) != path.absolute():
        with contextlib.suppress(OSError):
            path.rmdir()  # Hydra made it; it is kept where it is not empty
    return Path(made)
