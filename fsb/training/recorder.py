"""What a training run records: rows of numbers, curves, images and a summary."""

from __future__ import annotations

import contextlib
import functools
import math
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from omegaconf import DictConfig

from fsb.errors import Diverged, FsbError
from fsb.runtime.progress import Progress
from fsb.storage.checkpoints import Checkpoints
from fsb.storage.curves import curves
from fsb.storage.loggers import Logger
from fsb.storage.metrics_file import MetricsFile
from fsb.storage.provenance import factory_name, provenance
from fsb.storage.run_folder import identity, write_summary
from fsb.training import evaluation, images
from fsb.training.results import MOST_DRAWS, bits, bounds, subset, variables
from fsb.training.setup import Parts
from fsb.training.step import TrainState, gradient_statistics
from fsb.types import PyTree

BEYOND = 1000.0
"""A run has diverged when its ELBO is below -BEYOND times the size of its first one."""

NEEDED = ("step", "train_elbo", "valid_elbo", "test_elbo", "wall_seconds")
"""The columns without which a run cannot go on."""


class Recorder:
    """Writes the results of one run to its folder, its logger and the progress bar.

    Use it as a context manager, which shows the progress bar.

    rows: the rows of metrics.csv up to the current step.
    score: the latest validation ELBO, which ranks checkpoints; None before the first row.
    """

    def __init__(
        self,
        parts: Parts,
        config: DictConfig,
        folder: Path,
        log: Logger,
        step: int,
        bar: Any = None,
        statistics: Callable = gradient_statistics,
    ):
        self.parts, self.config, self.folder, self.log = parts, config, folder, log
        self.title = f"{parts.data.name} {factory_name(config.estimator) or 'estimator'}"
        self._statistics = statistics
        self.bar = bar or Progress(self.title, config.max_steps, step)
        self.table = MetricsFile(folder / "metrics.csv")
        self.table.truncate(step)
        # Process 0 may not have truncated the file yet when another process reads it.
        self.rows = [row for row in self.table.read() if row["step"] <= step]
        self.score: float | None = self.rows[-1]["valid_elbo"] if self.rows else None
        self._start = time.monotonic() - (self.rows[-1]["wall_seconds"] if self.rows else 0.0)
        self._batch = config.get("eval_batch_size", 512)
        self._probe = parts.recipe.layout.split(parts.probe)
        self._waited, self._last = 0.0, time.monotonic()
        self._identity, self._warned = identity(folder), False

    def __enter__(self) -> Recorder:
        self.bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time inside as waiting for data."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    def show(self, step: int, elbo: float) -> None:
        """Updates the progress bar after a chunk of steps whose mean ELBO was ``elbo``."""
        self.bar.update(step, **{"train ELBO": elbo})
        self.check(step, elbo)

    def check(self, step: int, elbo: float) -> None:
        """Refuses to go on if the run has diverged, or its folder was moved away."""
        if identity(self.folder) != self._identity:
            raise FsbError(f"run folder {self.folder} was moved or deleted during the run")
        first = abs(self.rows[0].get("train_elbo", math.inf)) if self.rows else math.inf
        if math.isfinite(elbo) and elbo > -BEYOND * max(first, 1.0):
            return
        kept = Checkpoints(self.folder / "checkpoints").steps()
        last = (
            f"the last checkpoint is that of step {kept[-1]}" if kept else "no checkpoint is kept"
        )
        text = f"diverged: the ELBO is {elbo:.4g} at step {step}; {last}"
        if self.config.on_divergence == "stop":
            if jax.process_index() == 0:
                write_summary(self.folder, {"diverged_at": step, **provenance()})
            advice = "try a lower optimizer.learning_rate, or go on with on_divergence=warn"
            raise Diverged(f"{text}; {advice}")
        if not self._warned:
            warnings.warn(text, stacklevel=3)
        self._warned = True

    def log_row(self, state: TrainState) -> TrainState:
        """Evaluates the model and adds a row; returns the state with an empty loss window."""
        data_wait = self._waited / (time.monotonic() - self._last)
        row = self._evaluated(state) | {"data_wait": data_wait if self.rows else None}
        self.score = row["valid_elbo"]
        self.bar.update(row["step"], **{"test ELBO": row["test_elbo"]})
        row["steps_per_second"] = self.bar.steps_per_second
        row["wall_seconds"] = time.monotonic() - self._start
        self.table.append(row)
        self.rows.append({name: value for name, value in row.items() if value is not None})
        self.check(row["step"], row["train_elbo"])
        pictures = {}
        if self.log.pictures:
            pictures = images.grids(self.parts, variables(self.parts, state, self._batch))
        self.log.log(row["step"], self.rows[-1], pictures)
        self._waited, self._last = 0.0, time.monotonic()
        return state._replace(loss_sum=self.parts.recipe.layout.replicate(np.float32(0)))

    def finish(self, state: TrainState) -> None:
        """Writes the images, the curves and summary.json of a finished run."""
        parts, final = self.parts, self.rows[-1]
        batch = min(128, self._batch)  # a bound evaluates several samples of each image at once
        now = variables(parts, state, self._batch)
        found = bounds(parts, now, self.config.bound_samples, "test", batch)
        images.save(parts, now, self.folder, self.title)
        if jax.process_index() != 0:
            return
        summary = {
            **{name: final[name] for name in ("train_elbo", "valid_elbo", "test_elbo")},
            **found,
            **bits(parts, final["test_elbo"], "test_bits_per_dim"),
            "steps": final["step"],
            "steps_per_second": final.get("steps_per_second"),
            "wall_seconds": time.monotonic() - self._start,
            "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
            "estimator": dict(self.config.estimator),
            "data": dict(self.config.data),
            "model": dict(self.config.model),
            "seed": self.config.seed,
            **provenance(),
        }
        write_summary(self.folder, summary)
        self.log.log(final["step"], found)
        curves(self.folder / "curves.png", self.rows, self.title)
        names = ("train_elbo", "test_elbo", *(name for name in found if name[-1] != "e"))
        numbers = ", ".join(f"{name} {summary[name]:.2f}" for name in names)
        print(f"{self.title}: {numbers}\n{self.folder}")

    def _note(self, split: str, count: int, done: int) -> None:
        self.bar.note(evaluating=f"{split} {done}/{count}")

    def _evaluated(self, state: TrainState) -> dict[str, Any]:
        """The row of the current step, without the times."""
        parts, step = self.parts, int(state.step)
        data, now = parts.data, variables(parts, state, self._batch)
        key = jax.random.fold_in(parts.key("evaluation"), step)
        splits = ("train", "valid", "test")
        chosen = {
            split: subset(getattr(data, split), self.config.eval_examples) for split in splits
        }
        batch, results = min(self._batch, max(map(len, chosen.values()))), {}
        for number, (split, some) in enumerate(chosen.items()):
            note = functools.partial(self._note, split, len(some))
            split_key = jax.random.fold_in(key, number)
            results[split] = evaluation.evaluate(parts.recipe, now, some, split_key, batch, note)
        self.bar.note(evaluating=None)
        row: dict[str, Any] = {"step": step, "epoch": step * parts.batch_size / len(data.train)}
        steps = step - (self.rows[-1]["step"] if self.rows else 0)
        row["train_objective"] = -float(state.loss_sum) / steps if steps else None
        row |= {f"{split}_elbo": result["elbo"] for split, result in results.items()}
        layers = ("kl_", "active_", "collapsed_")
        row |= {name: v for name, v in results["test"].items() if name.startswith(layers)}
        if draws := self.config.get("gradient_draws", MOST_DRAWS):
            gradients = self._statistics(parts.recipe, state, self._probe, key, draws)
            row |= {name: float(value) for name, value in gradients.items()}
        return row | {"learning_rate": learning_rate(state.opt_state)}


def require_rows(path: Path) -> None:
    """Checks that the rows of metrics.csv are those of a run.

    Raises:
      FsbError: if the file cannot be read, a column is missing, or a cell is no number.
    """
    for number, row in enumerate(MetricsFile(path).read(), start=1):
        for name in dict.fromkeys((*NEEDED, *row)):
            if isinstance(row.get(name), str | None):
                raise FsbError(f"{path}: row {number} has no number for {name}")


def learning_rate(opt_state: PyTree) -> float | None:
    """The learning rate of the latest step; None if the optimiser's state does not hold it."""
    found = optax.tree_utils.tree_get_all_with_path(opt_state, "learning_rate")
    return float(found[0][1]) if found else None
