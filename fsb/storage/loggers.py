"""Numbers of a run, on disk and on Weights & Biases.

A logger is an object with ``log(step, metrics, images)`` and ``finish()``. A factory of loggers
takes the run folder and the config of the run first, then the keys of ``configs/logger/*.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import jax
import numpy as np

from fsb.errors import unknown
from fsb.storage.provenance import factory_name

Row = dict[str, Any]
Mode = Literal["offline", "online", "disabled"]


class Logger(Protocol):
    """Where the numbers of a run go beside its own ``metrics.csv``.

    pictures: whether it has a use for images, which cost something to make.
    """

    pictures: bool

    def log(
        self, step: int, metrics: Mapping[str, float], images: Mapping[str, np.ndarray] = ...
    ) -> None:
        """Log scalars and uint8 images [H, W] or [H, W, 3] of one step."""

    def finish(self) -> None:
        """Send what is left; called once, at the end of the run."""


class _NoLogger:
    pictures = False

    def log(
        self, step: int, metrics: Mapping[str, float], images: Mapping[str, np.ndarray] = {}
    ) -> None:
        pass

    def finish(self) -> None:
        pass


def no_logger(folder: str | Path | None = None, config: Mapping[str, Any] | None = None) -> Logger:
    """A logger that does nothing: the run folder alone keeps the numbers."""
    return _NoLogger()


def wandb_logger(
    folder: str | Path,
    config: Mapping[str, Any],
    project: str = "fsb",
    entity: str | None = None,
    mode: Mode = "offline",
    group: str | None = None,
    tags: Sequence[str] = (),
    init_timeout: float = 5.0,
) -> Logger:
    """A logger to Weights & Biases that never blocks or ends a run.

    folder: the run folder; files go under ``<folder>/wandb``, and the id kept there makes a
        resumed run go on as the same W&B run.
    config: nested dict of the whole run.
    mode: "offline" (no login; send later with ``wandb sync``), "online" (falls back to offline
        where there is no login or no answer within ``init_timeout`` seconds) or "disabled".
    group: runs of one group are shown together; by default the name of the estimator.
    Only the first process of several logs. Raises ``FsbError`` for another mode, and where the
    package is absent.
    """
    if mode not in get_args(Mode):
        raise unknown("logger.mode", mode, get_args(Mode))
    if mode == "disabled" or jax.process_index() != 0:
        return _NoLogger()
    from fsb.storage.wandb_logger import WandbLogger

    settings = {"project": project, "entity": entity, "tags": list(tags)}
    settings["group"] = group or factory_name(config.get("estimator", {})) or None
    return WandbLogger(Path(folder), dict(config), mode, init_timeout, settings)
