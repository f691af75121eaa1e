"""Where a run writes, and how an existing run goes on."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fsb.cli.factory import build
from fsb.cli.members import Member
from fsb.cli.saved import load_run_config
from fsb.cli.schema import Train
from fsb.errors import FsbError
from fsb.networks.summary import summary
from fsb.runtime.processes import from_first, largest, leave
from fsb.runtime.xla import compilation_cache
from fsb.storage.atomic import write_text_atomic
from fsb.storage.checkpoints import Checkpoints
from fsb.storage.loggers import Logger
from fsb.storage.run_folder import locked, new_folder, new_run_folder, read_summary
from fsb.training.recorder import require_rows
from fsb.training.setup import Parts

CHANGEABLE = (
    "resume",
    "max_steps",
    "steps_per_call",
    "checkpoint_every",
    "keep_last",
    "keep_best",
    "on_divergence",
    "logger",
    "data.root",
    "devices",
    "distributed",
    "compilation_cache",
    "modules",
    "profile",
)
"""The keys that may be given with resume=...; all others stay as the run has them."""

OF_THIS_PROCESS = ("distributed", "compilation_cache", "modules", "profile")
"""The keys that are never taken from a saved configuration."""


def resumed(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration of the run ``config.resume``, with the changes of the command line.

    Args:
      config: the configuration that was composed from the command line.
      overrides: the overrides of the command line.

    Raises:
      FsbError: if there is no such run, an override may not change, a name in the run folder leads
        out of it, its numbers cannot be read, or the run is already past ``max_steps``.
    """
    if not config.resume:
        raise FsbError("resume: is empty; give the folder of a run, or leave resume out")
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
    require_rows(Path(config.resume) / "metrics.csv")
    read_summary(config.resume)
    step = max(Checkpoints(Path(config.resume) / "checkpoints").steps(), default=0)
    if step > saved.max_steps:
        raise FsbError(f"max_steps={saved.max_steps}: the run is already at step {step}")
    saved.resume = config.resume
    return saved


@contextlib.contextmanager
def open_run(config: DictConfig, parts: Parts) -> Iterator[tuple[Path, Logger]]:
    """Makes the run folder, or opens that of the run to resume, and writes config.yaml there.

    While it is open, no other process can write to the folder.

    Yields:
      The run folder and the logger.

    Raises:
      FsbError: if the folder cannot be made, holds something already or is in use.
    """
    compilation_cache(config.compilation_cache)
    record = OmegaConf.merge(config, {"resume": None})
    plain: Any = OmegaConf.to_container(record, resolve=True)
    with contextlib.ExitStack() as until_the_end:

        def opened() -> str:
            folder = _claimed(config)
            until_the_end.enter_context(locked(folder))
            write_text_atomic(folder / "config.yaml", OmegaConf.to_yaml(record, resolve=True))
            return str(folder)

        folder, other = Path(from_first(opened)), Path(HydraConfig.get().runtime.output_dir)
        if other.absolute() != folder:
            with contextlib.suppress(OSError):
                other.rmdir()  # Hydra made it; it is kept where it is not empty
        if jax.process_index() == 0:
            print(f"{config.model['_target_']}: {summary(parts.recipe.model, parts.data.shape)}")
        try:
            log = build(config, "logger", folder, plain)
        except FsbError:
            if not config.resume and jax.process_index() == 0:
                shutil.rmtree(folder)  # it has not begun
            raise
        until_the_end.callback(log.finish)
        yield folder, log
    leave()


@contextlib.contextmanager
def open_members(
    config: DictConfig, members: Sequence[Member]
) -> Iterator[tuple[Path, list[tuple[Path, Logger]]]]:
    """Makes the folder of a sweep, and in it a run folder for each member, or opens them again.

    Yields:
      The folder of the sweep; of each member, its run folder and logger.

    Raises:
      FsbError: if a folder cannot be made or holds something already.
    """
    compilation_cache(config.compilation_cache)
    with contextlib.ExitStack() as until_the_end:
        folder = _claimed(config, claim=members[0].name)
        until_the_end.enter_context(locked(folder))
        record = OmegaConf.merge(config, {"resume": None})
        write_text_atomic(folder / "config.yaml", OmegaConf.to_yaml(record, resolve=True))
        write_text_atomic(folder / "members.yaml", OmegaConf.to_yaml(config.members))
        opened = []
        for member in members:
            own, begun = folder / member.name, (folder / member.name / "config.yaml").exists()
            own = own if begun else new_run_folder(own)
            until_the_end.enter_context(locked(own))
            write_text_atomic(own / "config.yaml", OmegaConf.to_yaml(member.config, resolve=True))
            plain: Any = OmegaConf.to_container(member.config, resolve=True)
            if "group" in plain["logger"]:
                told = plain["logger"]
                told["group"] = told["group"] or folder.name
                told |= {"name": member.name, "job_type": "member"}
            log = build(plain, "logger", own, plain)
            until_the_end.callback(log.finish)
            opened.append((own, log))
        yield folder, opened


def _claimed(config: DictConfig, claim: str = "checkpoints") -> Path:
    """The folder of the run to resume, or a new one with the folder ``claim`` in it."""
    if config.resume:
        return Path(config.resume).absolute()
    hydra = HydraConfig.get()
    chosen = any(".dir=" in override for override in hydra.overrides.hydra)
    return new_folder(hydra.runtime.output_dir, exact=chosen, claim=claim)


def require_same(settings: Mapping[str, Any]) -> None:
    """Refuses processes of one run that have different settings; every process must call it.

    Raises:
      FsbError: in every process; where the settings differ, the first key that does is named.
    """
    mine = _flat({name: value for name, value in settings.items() if name != "distributed"})
    first = json.loads(from_first(lambda: json.dumps(mine)))
    differing = sorted(key for key in mine | first if mine.get(key) != first.get(key))
    if not largest(len(differing)):
        return
    if not differing:
        raise FsbError("distributed: another process of this run has other settings")
    key, here = differing[0], jax.process_index()
    theirs, ours = first.get(key, "absent"), mine.get(key, "absent")
    raise FsbError(f"{key}: is {ours} in process {here} and {theirs} in process 0")


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """The values of nested settings by their full names."""
    if not isinstance(value, dict):
        return {path: value}
    dot = f"{path}." if path else ""
    return {k: v for key, item in value.items() for k, v in _flat(item, f"{dot}{key}").items()}
