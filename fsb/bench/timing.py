"""Times of a chunk of steps, and their ratios, within one interleaved run."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from fsb.bench.variants import Chunk
from fsb.runtime.progress import Progress

BOUNDS = (
    ("foust / st", "foust", "st", 1.03),
    ("foust / no sampling", "foust", "no sampling", 1.10),
    ("foust / matrix products alone", "foust", "matrix products", 1 / 0.8),
    ("foust / eager PyTorch", "foust", "eager PyTorch", 1 / 1.2),
)
"""(what, numerator, denominator, at most): times of a step."""


def measure(variants: dict[str, Chunk], rounds: int) -> dict[str, np.ndarray]:
    """The seconds of a chunk of each variant, [rounds], after two chunks that compile it."""
    for chunk in variants.values():
        chunk()
        chunk()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    turns = np.random.default_rng(0)
    with Progress("bench", rounds) as bar:
        for number in range(rounds):
            for name in turns.permutation(list(variants)):
                start = time.perf_counter()
                variants[name]()
                seconds[name].append(time.perf_counter() - start)
            bar.update(number + 1)
    return {name: np.array(values) for name, values in seconds.items()}


def speeds(seconds: dict[str, np.ndarray], steps: int) -> list[dict[str, Any]]:
    """One row for each variant: the time of a step, and its ratio to that of straight-through."""
    rows = []
    for name, values in seconds.items():
        step = float(np.median(values)) / steps
        row = {"variant": name, "ms_per_step": 1e3 * step, "steps_per_second": 1 / step}
        rows.append(row | paired(values, seconds["st"]))
    return rows


def verdicts(seconds: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row for each bound: the ratio, and whether it is met; None if it was not measured."""
    rows = []
    for what, top, bottom, most in BOUNDS:
        row: dict[str, Any] = {"what": what, "at_most": most, "met": None, "ratio": None}
        if bottom in seconds:
            row |= paired(seconds[top], seconds[bottom])
            row["met"] = row["ratio"] <= most
        rows.append(row)
    return rows


def paired(top: np.ndarray, bottom: np.ndarray) -> dict[str, Any]:
    """The median and the quartiles of the ratios within a round."""
    low, middle, high = np.quantile(top / bottom, (0.25, 0.5, 0.75)).tolist()
    return {"ratio": middle, "quartile_1": low, "quartile_3": high}


def show(speeds: list[dict[str, Any]], verdicts: list[dict[str, Any]]) -> str:
    """Both tables as text."""
    lines = [f"{'variant':32} {'ms/step':>8} {'steps/s':>8} {'/ st':>7}  (quartiles)"]
    for row in speeds:
        numbers = f"{row['ms_per_step']:8.2f} {row['steps_per_second']:8.0f} {row['ratio']:7.3f}"
        lines.append(f"{row['variant']:32} {numbers}  {_quartiles(row)}")
    lines += ["", f"{'ratio of times':32} {'median':>8} {'at most':>8}  (quartiles)"]
    for row in verdicts:
        if row["ratio"] is None:
            ratio, verdict = "-", "not measured: needs torch"
        else:
            ratio = f"{row['ratio']:.3f}"
            verdict = f"{_quartiles(row)} {'met' if row['met'] else 'NOT MET'}"
        lines.append(f"{row['what']:32} {ratio:>8} {row['at_most']:8.3f}  {verdict}")
    return "\n".join(lines)


def _quartiles(row: dict[str, Any]) -> str:
    return f"({row['quartile_1']:.3f}-{row['quartile_3']:.3f})"
