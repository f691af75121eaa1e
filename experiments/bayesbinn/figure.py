"""The picture of the experiment: accuracy, agreement of signs, and the two laws of the variance.

    python experiments/bayesbinn/figure.py experiments/bayesbinn

draws it again, from the tables in that folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from training import APART, APART_AFTER, CONTROL, SAME, SAME_AFTER, START_UP
from variance import AT, TAUS

from fsb.storage.metrics_file import MetricsFile
from fsb.storage.style import COLOURS, DASHES, MARKERS


def draw(path: Path, accuracies: list, agreements: list, variance: list) -> None:
    """Saves the four panels; rows as ``train`` and ``variances`` return them."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator, PercentFormatter

    figure = Figure(figsize=(10, 7.4), dpi=120, layout="constrained")
    (right, signs), (hot, many) = figure.subplots(2, 2)
    names = [name for name in accuracies[0] if name != "step"]
    for i, name in enumerate(names):
        lines(right, i, name, [(row["step"], 100 * row[name]) for row in accuracies], 3)
    right.set(xlabel="step", ylabel="test accuracy", ylim=(85, 100))
    right.set_title("MNIST, weights sign(lam)", loc="left", size=10)
    for i, name in enumerate((SAME, SAME_AFTER, APART, APART_AFTER, CONTROL)):
        points = [
            (row["step"], 100 * row[name]) for row in agreements if name in row and row["step"]
        ]
        lines(signs, i, name, points, 4)
    signs.axvline(START_UP, color="0.6", linewidth=0.8)
    signs.set(xlabel="step", ylabel="weights of the same sign", xscale="log")
    signs.set_title("released and det_ste_decay", loc="left", size=10)
    for axes in (right, signs):
        axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    cold, several = variance[: len(TAUS)], variance[len(TAUS) :]
    law(hot, cold, "temperature", "second_moment", r"$2 f'^2 / (3\tau(1-\mu^2))$")
    hot.set(xlabel="temperature", ylabel=r"E$\,G^2$, summed over the weights (nats$^2$)")
    law(many, several, "samples", "variance", "1/S of one sample")
    many.set(xlabel="number of samples S", ylabel="variance of G, summed (nats$^2$)")
    hot.set_title("bayesbinn as derived, |lam| = 1", loc="left", size=10)
    many.set_title(f"the mean of S samples, temperature {AT}", loc="left", size=10)
    many.set_xticks([row["samples"] for row in several], [str(row["samples"]) for row in several])
    many.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    many.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    many.minorticks_off()
    for axes in (right, signs, hot, many):
        axes.grid(color="0.9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": 2}
        place = below if axes is signs else {}
        axes.legend(frameon=False, fontsize=8, handlelength=3, **place)
    figure.savefig(path)


def lines(axes, i: int, label: str, points: list, every: int) -> None:
    style = {"color": COLOURS[i], "linestyle": DASHES[i], "marker": MARKERS[i]}
    axes.plot(
        *np.transpose(points), label=label, markersize=4, markevery=(i % every, every), **style
    )


def law(axes, rows: list, x: str, y: str, label: str) -> None:
    """Measured points, and the prediction as a line."""
    at = [row[x] for row in rows]
    axes.plot(at, [row["predicted"] for row in rows], "-", color="0.5", label=f"predicted: {label}")
    errors = [2 * row["standard_error"] for row in rows] if y == "second_moment" else None
    found = "measured" + (", two standard errors" if errors else "")
    measured = [row[y] for row in rows]
    axes.errorbar(at, measured, errors, fmt="o", color="black", markersize=5, label=found)
    axes.set(xscale="log", yscale="log")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    names = ("results", "agreement", "variance")
    tables = [MetricsFile(folder / f"{name}.csv").read() for name in names]
    for kind in ("png", "pdf"):
        draw(folder / f"bayesbinn.{kind}", *tables)
