"""Numbers of a run, on disk and on Weights & Biases.

A logger is an object with ``log(step, metrics, images)`` and ``finish()``. A factory of loggers
takes the run folder and the config of the run first, then the keys of ``configs/logger/*.yaml``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import jax
import numpy as np

from fsb.files import write_text_atomic
from fsb.schema import convert
from fsb.types import FsbError

Row = dict[str, Any]
Mode = Literal["offline", "online", "disabled"]


class MetricsFile:
    """A CSV file with one line per ``append``; the header grows when a new column comes.

    Floats are written so that they read back exactly. A line is on disk when ``append`` returns;
    one that a killed run left half-written is dropped. In a run of several processes only the
    first one writes.

    >>> import tempfile
    >>> file = MetricsFile(tempfile.mkdtemp() + "/metrics.csv")
    >>> file.append({"step": 10, "train_elbo": -120.5})
    >>> file.append({"step": 20, "train_elbo": -110.25, "test_elbo": -111.0})
    >>> file.truncate(10)
    >>> file.read()
    [{'step': 10, 'train_elbo': -120.5}]
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._columns: list[str] | None = None

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row of numbers or strings; ``None`` leaves the cell empty.

        Raises ``FsbError`` where the file cannot be written.
        """
        if jax.process_index() != 0:
            return
        row = {name: _cell(value) for name, value in row.items()}
        if self._columns is None or not row.keys() <= set(self._columns):
            self._write([*self.read(), row])
            return
        try:
            with open(self.path, "a", encoding="utf-8", newline="") as file:
                file.write(_lines([row], self._columns))
        except OSError as error:
            raise FsbError(f"cannot write {self.path}: {error.strerror}") from error

    def read(self) -> list[Row]:
        """All whole rows, with ints and floats where the text is one; empty cells are left out.

        Raises ``FsbError`` where the file cannot be read.
        """
        try:
            text = self.path.read_text("utf-8") if self.path.exists() else ""
        except (OSError, ValueError) as error:
            raise FsbError(f"cannot read {self.path}: {str(error).splitlines()[0]}") from error
        whole = text[: text.rfind("\n") + 1]
        rows = csv.DictReader(io.StringIO(whole, newline=""))
        return [{k: _parsed(v) for k, v in row.items() if k is not None and v} for row in rows]

    def truncate(self, step: int) -> None:
        """Keep the rows up to and with ``step``, for a run that goes on from there."""
        if jax.process_index() == 0 and self.path.exists():
            self._write([row for row in self.read() if row.get("step", step) <= step])

    def _write(self, rows: Sequence[Row]) -> None:
        self._columns = list(dict.fromkeys(name for row in rows for name in row))
        header = _lines([{name: name for name in self._columns}], self._columns)
        write_text_atomic(self.path, (header + _lines(rows, self._columns)) if rows else "")


def _lines(rows: Sequence[Row], columns: list[str]) -> str:
    text = io.StringIO(newline="")
    csv.DictWriter(text, columns, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A Python number, which ``csv`` writes with ``repr``, or a string of one line."""
    if isinstance(value, str):
        return " ".join(value.split())
    return value.item() if hasattr(value, "item") else value


def _parsed(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


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
    convert(mode, Mode, "logger.mode")
    if mode == "disabled" or jax.process_index() != 0:
        return _NoLogger()
    from fsb.wandb_logger import WandbLogger

    settings = {"project": project, "entity": entity, "tags": list(tags)}
    settings["group"] = group or _estimator(config)
    return WandbLogger(Path(folder), dict(config), mode, init_timeout, settings)


def _estimator(config: Mapping[str, Any]) -> str | None:
    """The name of the estimator in a config: the last part of what its ``_target_`` names."""
    entry = config.get("estimator")
    if isinstance(entry, Mapping):
        entry = entry.get("name") or entry.get("_target_")
    return str(entry).rsplit(".", 1)[-1] if entry else None
