"""What python -m fsb.lab shows: a table, plots, and the numbers of each parameter array."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fsb.diagnostics import GradientMoments
from fsb.storage.curves import compare_curves
from fsb.storage.style import log_scale, save
from fsb.types import PyTree

Row = Mapping[str, Any]
BIASED = 4  # standard errors


def table(rows: Sequence[Row], first: str, title: str = "") -> str:
    """The numbers as text, one line for each estimator."""
    head = (
        f"{'estimator':26} {'evals':>5} {'bias %':>9} {'+-':>7} {'variance':>10} {'SNR':>8} "
        f"{'cosine':>7} {'ms':>9} {f'/ {first}':>8}"
    )
    lines = [title, head] if title else [head]
    for row in rows:
        lines.append(
            f"{row['estimator']:26} {row['evaluations']:5} {row['bias_percent']:8.2f}"
            f"{'*' if row['bias_z'] > BIASED else ' '} {row['bias_error_percent']:7.2f} "
            f"{row['variance']:10.4g} {row['snr']:8.3g} {row['cosine']:7.3f} "
            f"{row['milliseconds']:9.4g} {row['time_ratio']:8.2f}"
        )
    return "\n".join(lines)


def pictures(folder: Path, rows: Mapping[int, Sequence[Row]], title: str, first: str) -> None:
    """Saves lab.png for the last point, and curves of variance, bias and SNR for several points."""
    last = list(rows.values())[-1]
    _bars(folder / "lab.png", last, title, first)
    if len(rows) == 1:
        return
    for field, log in (("variance", True), ("bias_percent", False), ("snr", True)):
        lines: dict[str, list[Row]] = {row["estimator"]: [] for row in last}
        for step, found in rows.items():
            for row in found:
                lines[row["estimator"]].append({"step": step, field: row[field]})
        label = {"bias_percent": "bias, % of the gradient"}.get(field, field)
        compare_curves(folder / f"{field}.png", lines, field, title, label, log)


def _bars(path: Path, rows: Sequence[Row], title: str, first: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.5 + 0.26 * len(rows)), dpi=150, layout="constrained")
    figure.suptitle(title, size=11)
    panels: Any = figure.subplots(1, 3, sharey=True)
    places = np.arange(len(rows))[::-1]
    biased = [row["bias_z"] > BIASED for row in rows]
    colours = ["#D55E00" if wrong else "#0072B2" for wrong in biased]
    bias = np.array([row["bias_percent"] for row in rows])
    errors = np.array([row["bias_error_percent"] for row in rows])
    panels[0].barh(places, [row["variance"] for row in rows], color=colours, height=0.7)
    panels[0].set(xlabel="variance, summed over parameters")
    log_scale(panels[0], "x")
    panels[1].barh(places, bias, xerr=errors, color=colours, height=0.7, ecolor="0.3")
    panels[1].set(xlabel="bias, % of the gradient\n(orange: > 4 standard errors)")
    log_scale(panels[1], "x")
    panels[1].set_xlim(left=0.1)  # smaller values are not shown
    panels[2].barh(places, [row["time_ratio"] for row in rows], color="0.6", height=0.7)
    panels[2].set(xlabel=f"time of a gradient / {first}\n(at the bar: evaluations)")
    for place, row in zip(places, rows, strict=True):
        end = (np.nan_to_num(row["time_ratio"]), place)
        axes, text = panels[2], str(row["evaluations"])
        axes.annotate(text, end, (3, 0), va="center", size=7, textcoords="offset points")
    panels[0].set_yticks(places, [row["estimator"] for row in rows], size=8)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, which="both")
        axes.xaxis.label.set_size(8)
        axes.grid(axis="x", alpha=0.25)
        axes.set_axisbelow(True)
    save(figure, path)


def parameter_rows(step: int, params: PyTree, found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row for each estimator and array of the params.

    mean_norm: the norm of the mean gradient of the array; variance: summed over its entries.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    ends = np.cumsum([np.size(leaf) for _, leaf in leaves])
    for name, result in found.items():
        whole = functools.reduce(GradientMoments.merge, result.batches)
        means, squares = np.split(whole.mean, ends), np.split(whole.squared_deviations, ends)
        for (where, leaf), mean, square in zip(leaves, means, squares, strict=False):
            yield {
                "step": step,
                "estimator": name,
                "parameter": jax.tree_util.keystr(where),
                "size": np.size(leaf),
                "mean_norm": float(np.linalg.norm(mean)),
                "variance": float(square.sum() / (whole.draws - 1)),
            }
