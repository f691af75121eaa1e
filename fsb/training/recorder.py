"""What a training run writes down: rows of numbers, curves, pictures, and a summary."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from omegaconf import DictConfig

from fsb.objectives import bits_per_dimension
from fsb.plots.curves import curves
from fsb.runtime.progress import Progress
from fsb.storage import run_folder
from fsb.storage.loggers import Logger
from fsb.storage.metrics_file import MetricsFile
from fsb.storage.provenance import provenance
from fsb.training import evaluation, images
from fsb.training.setup import Parts
from fsb.training.step import TrainState, gradient_statistics
from fsb.types import PyTree


class Record:
    """The record of one run, in its folder and in its logger.

    rows: of metrics.csv up to the current step.
    score: the newest validation ELBO, by which checkpoints are ranked; None before the first.
    waited: seconds since the last row in which training waited for data.
    """

    def __init__(self, parts: Parts, config: DictConfig, folder: Path, log: Logger, step: int):
        self.parts, self.config, self.folder, self.log = parts, config, folder, log
        self.title = f"{parts.data.name} {estimator_name(config)}"
        self.table = MetricsFile(folder / "metrics.csv")
        self.table.truncate(step)
        # Process 0 may not have truncated yet, where another one reads.
        self.rows = [row for row in self.table.read() if row["step"] <= step]
        self.score: float | None = self.rows[-1]["valid_elbo"] if self.rows else None
        self._start = time.monotonic() - (self.rows[-1]["wall_seconds"] if self.rows else 0.0)
        self._batch = config.get("eval_batch_size", 512)
        self._probe = parts.recipe.layout.split(parts.probe)
        self.waited, self._last = 0.0, time.monotonic()

    def evaluate(self, state: TrainState, bar: Progress) -> TrainState:
        """Adds a row to metrics.csv; returns the state with an empty loss window."""
        data_wait = self.waited / (time.monotonic() - self._last)
        row = self._row(state) | {"data_wait": data_wait if self.rows else None}
        self.score = row["valid_elbo"]
        bar.update(row["step"], **{"test ELBO": row["test_elbo"]})
        row["steps_per_second"] = bar.steps_per_second
        row["wall_seconds"] = time.monotonic() - self._start
        self.table.append(row)
        self.rows.append({name: value for name, value in row.items() if value is not None})
        pictures = {}
        if self.log.pictures:
            pictures = images.grids(self.parts, variables(self.parts, state, self._batch))
        self.log.log(row["step"], self.rows[-1], pictures)
        self.waited, self._last = 0.0, time.monotonic()
        return state._replace(loss_sum=self.parts.recipe.layout.replicate(np.float32(0)))

    def finish(self, state: TrainState) -> None:
        """Writes the pictures and summary.json of a finished run."""
        parts, final = self.parts, self.rows[-1]
        batch = min(128, self._batch)  # a bound takes several samples of each side by side
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
        run_folder.write_summary(self.folder, summary)
        curves(self.folder / "curves.png", self.rows, self.title)
        names = ("train_elbo", "test_elbo", *(name for name in found if name[-1] != "e"))
        numbers = ", ".join(f"{name} {summary[name]:.2f}" for name in names)
        print(f"{self.title}: {numbers}\n{self.folder}")

    def _row(self, state: TrainState) -> dict[str, Any]:
        parts, step = self.parts, int(state.step)
        data, now = parts.data, variables(parts, state, self._batch)
        key = jax.random.fold_in(parts.key("evaluation"), step)
        splits = {
            split: spread(getattr(data, split), self.config.eval_examples)
            for split in ("train", "valid", "test")
        }
        results = {
            split: evaluation.evaluate(
                parts.recipe, now, images, jax.random.fold_in(key, number), self._batch
            )
            for number, (split, images) in enumerate(splits.items())
        }
        row: dict[str, Any] = {"step": step, "epoch": step * parts.batch_size / len(data.train)}
        steps = step - (self.rows[-1]["step"] if self.rows else 0)
        row["train_objective"] = -float(state.loss_sum) / steps if steps else None
        row |= {f"{split}_elbo": result["elbo"] for split, result in results.items()}
        layers = ("kl_", "active_", "collapsed_")
        row |= {name: v for name, v in results["test"].items() if name.startswith(layers)}
        gradients = gradient_statistics(parts.recipe, state, self._probe, key)
        row |= {name: float(value) for name, value in gradients.items()}
        return row | {"learning_rate": learning_rate(state.opt_state)}


def spread(images: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the images, evenly spread, for a set may be sorted by class."""
    if len(images) <= most:
        return images
    return images[np.linspace(0, len(images) - 1, most).round().astype(int)]


def variables(parts: Parts, state: TrainState, batch: int = 512) -> PyTree:
    """What the model is applied to, with the statistics of ``batch`` training images if it asks."""
    found = {"params": state.params, "constants": state.constants}
    if getattr(parts.recipe.model, "mixes_examples", False):
        count = parts.recipe.layout.size
        images = spread(parts.data.train, max(1, batch // count) * count)
        batch_of = parts.recipe.layout.split(images[: len(images) // count * count])
        found |= evaluation.statistics(parts.recipe, found, batch_of, parts.key("statistics"))
    return found


def bounds(
    parts: Parts, now: PyTree, samples: list[int], split: str, batch: int = 128
) -> dict[str, float]:
    """The K-sample bounds of a split, each with its standard error."""
    out: dict[str, float] = {}
    for count in samples:
        # One key for all: the noise of the data is the same, and so the bounds can be compared.
        images, key = getattr(parts.data, split), parts.key("evaluation")
        mean, error = evaluation.bound(parts.recipe, now, images, key, count, batch)
        out |= {f"{split}_bound_{count}": mean, f"{split}_bound_{count}_se": error}
    return out


def bits(parts: Parts, elbo: float, name: str) -> dict[str, float]:
    """Bits per dimension under ``name``; nothing where the data are not dequantised."""
    offset = parts.data.preprocess.bits_offset
    if offset is None:
        return {}
    return {name: float(bits_per_dimension(elbo, math.prod(parts.data.shape), offset))}


def estimator_name(config: DictConfig) -> str:
    """The last part of what the configuration names."""
    return str(config.estimator.get("_target_", "estimator")).rpartition(".")[2]


def learning_rate(opt_state: PyTree) -> float | None:
    """The rate of the latest step, where the optimizer shows it."""
    found = optax.tree_utils.tree_get_all_with_path(opt_state, "learning_rate")
    return float(found[0][1]) if found else None
