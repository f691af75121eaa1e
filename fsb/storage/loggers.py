"""Loggers: where the numbers of a run go besides its own metrics.csv.

A factory takes the run folder and the configuration of the run, then the keys of
``configs/logger/*.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, get_args

import jax
import numpy as np
from annotated_types import Gt

from fsb.errors import FsbError, unknown
from fsb.storage.provenance import factory_name, provenance

Row = dict[str, Any]
Mode = Literal["offline", "online", "disabled"]


class Logger(Protocol):
    """What a factory of loggers returns.

    pictures: whether the logger takes images, which cost time to make.
    """

    pictures: bool

    def log(
        self, step: int, metrics: Mapping[str, float], images: Mapping[str, np.ndarray] = ...
    ) -> None:
        """Logs scalars and uint8 images [H, W] or [H, W, 3] of one step."""

    def finish(self) -> None:
        """Sends what is left; called once, at the end of the run."""


class _NoLogger:
    pictures = False

    def log(
        self, step: int, metrics: Mapping[str, float], images: Mapping[str, np.ndarray] = {}
    ) -> None:
        pass

    def finish(self) -> None:
        pass


def no_logger(folder: str | Path | None = None, config: Mapping[str, Any] | None = None) -> Logger:
    """A logger that does nothing: the numbers are kept in the run folder alone."""
    return _NoLogger()


def wandb_logger(
    folder: str | Path,
    config: Mapping[str, Any],
    project: str = "fsb",
    entity: str | None = None,
    mode: Mode = "offline",
    group: str | None = None,
    name: str | None = None,
    job_type: str = "train",
    tags: Sequence[str] = (),
    init_timeout: Annotated[float, Gt(0)] = 5.0,
) -> Logger:
    """A logger to Weights & Biases that never blocks or ends a run.

    Only the first of several processes logs.

    Args:
      folder: the run folder. Files go under ``<folder>/wandb``; the id kept there lets a resumed
        run continue the same W&B run.
      config: the whole configuration of the run, nested; it gets the commit, the machine and the
        versions as "provenance".
      project, entity, tags: as W&B has them.
      mode: "offline" (no login; send later with ``wandb sync``), "online" (falls back to offline
        without a login or an answer within ``init_timeout``) or "disabled".
      group: runs of one group are shown together; by default the name of the estimator. The
        members of a sweep are a group, named after the sweep's folder, of the job type "member".
      name: of the run; by default data set, estimator, and seed, such as "mnist foust, seed 3".
      job_type: what kind of run it is.
      init_timeout: seconds.

    Raises:
      FsbError: if the mode is unknown, or wandb is not installed.
    """
    if mode not in get_args(Mode):
        raise unknown("logger.mode", mode, get_args(Mode))
    if mode == "disabled" or jax.process_index() != 0:
        return _NoLogger()
    from fsb.storage.wandb_logger import WandbLogger

    settings = {"project": project, "entity": entity, "tags": list(tags), "job_type": job_type}
    settings["group"] = group or factory_name(config.get("estimator", {})) or None
    settings["name"] = name or run_name(config)
    told = {**config, "provenance": provenance()}
    return WandbLogger(Path(folder), told, mode, init_timeout, settings)


def run_name(config: Mapping[str, Any]) -> str:
    """What tells a run from others in a list: data set, estimator, seed.

    >>> run_name({"data": {"_target_": "fsb.data.mnist"}, "estimator": {"_target_": "fsb.foust"},
    ...           "seed": 3})
    'mnist foust, seed 3'
    """
    parts = [factory_name(config.get(key, {})) for key in ("data", "estimator")]
    return f"{' '.join(filter(None, parts))}, seed {config.get('seed', 0)}".lstrip(", ")


def require_package(settings: Mapping[str, Any]) -> None:
    """Refuses the settings of ``wandb_logger`` where wandb is not installed.

    Raises:
      FsbError: if it is not.
    """
    wanted = factory_name(settings) == "wandb_logger" and settings.get("mode") != "disabled"
    if wanted and find_spec("wandb") is None:
        raise FsbError("logger=wandb needs the package wandb; or take logger=none")
