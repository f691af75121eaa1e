"""Training curves of one or several runs, from the rows of ``metrics.csv``.

Every line has its own colour, dash and marker, so that plots can be read in greyscale. The steep
rise of the first steps may be cut off; the plot then says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fsb.errors import FsbError
from fsb.storage.style import COLOURS, fixed_margins, line_style, log_scale, new_figure, save

Row = Mapping[str, Any]


def curves(path: str | Path, rows: Sequence[Row], title: str = "") -> None:
    """Saves the curves of one run: ELBOs, KL and active units per layer, gradients.

    Args:
      rows: as returned by ``MetricsFile.read``; panels without data are omitted.

    Raises:
      FsbError: if there is nothing to draw.
    """
    names = sorted({name for row in rows for name in row}, key=_by_number)

    def layers(kind: str) -> dict[str, str]:
        found = [re.fullmatch(rf"{kind}_(\d+)", name) for name in names]
        return {m[0]: f"layer {m[1]}" for m in found if m}

    elbo = {"train_elbo": "train", "valid_elbo": "valid", "test_elbo": "test"}
    gradient = {"gradient_norm": "norm", "gradient_variance": "variance"}
    panels: list[tuple[str, str, dict[str, str], bool]] = [
        ("ELBO", "nats", elbo, False),
        ("KL per layer", "nats", layers("kl"), False),
        ("Active units per layer", "units", layers("active"), False),
        ("Gradient", "norm, variance", gradient, True),
    ]
    drawn = []
    for heading, unit, fields, log in panels:
        lines = {label: _series(rows, name, log) for name, label in fields.items()}
        lines = {label: line for label, line in lines.items() if len(line[0])}
        drawn += [(heading, unit, lines, log)] if lines else []
    if not drawn:
        raise FsbError("nothing to plot: no row has a step and a number")
    columns = min(2, len(drawn))
    high = -(-len(drawn) // columns)
    figure = new_figure(4.8 * columns, 3.3 * high + 0.4, title)
    if all(len(lines) <= len(COLOURS) for _, _, lines, _ in drawn):  # no legend beside a panel
        fixed_margins(figure, high, columns)
    for place, (heading, unit, lines, log) in enumerate(drawn, start=1):
        axes = figure.add_subplot(high, columns, place)
        shaded = len(lines) > len(COLOURS)
        draw_lines(axes, {label: (x, y, None) for label, (x, y) in lines.items()}, shaded)
        axes.set_title(heading, size=10, loc="left", y=1.0)  # else it is laid out several times
        axes.set(xlabel="step", ylabel=unit)
        if log:
            log_scale(axes, "y")
        elif heading == "ELBO":
            _limit(axes, [y for _, y in lines.values()])
        else:
            axes.set_ylim(bottom=0)
        if not shaded:
            _write_ends(axes)
    save(figure, path)


def compare_curves(
    path: str | Path,
    runs: Mapping[str, Sequence[Row] | Sequence[Sequence[Row]]],
    field: str,
    title: str = "",
    ylabel: str | None = None,
    log: bool = False,
) -> None:
    """Saves one field of several runs against the step, in one plot.

    Args:
      runs: by label, the rows of a run, or one list of rows per seed; the line is then their mean,
        with a band of one standard deviation on each side, over the steps common to all seeds.

    Raises:
      FsbError: if a run has no number in ``field``.
    """
    figure = new_figure(6.4, 4.2, title)
    axes = figure.add_subplot()
    lines = {label: _mean_and_spread(label, run, field, log) for label, run in runs.items()}
    draw_lines(axes, lines)
    axes.set(xlabel="step", ylabel=ylabel or _words(field))
    if log:
        log_scale(axes, "y")
    else:
        _limit(axes, [y for _, y, _ in lines.values()])
    if any(spread is not None for _, _, spread in lines.values()):
        axes.set_title("band: one standard deviation over seeds", loc="left", size=8, color="0.35")
    _write_ends(axes)
    save(figure, path)


def _series(rows: Sequence[Row], name: str, positive: bool = False) -> tuple[Any, Any]:
    """Steps and finite values of a column, [N] each; only positive ones for a log scale."""
    pairs = [(r["step"], r[name]) for r in rows if "step" in r and np.isreal(r.get(name, ""))]
    table = np.array(pairs, np.float64).reshape(-1, 2)
    table = table[np.isfinite(table).all(1)]
    if positive:
        table = table[table[:, 1] > 0]
    return table[:, 0], table[:, 1]


def _mean_and_spread(label: str, run: Any, field: str, positive: bool) -> tuple[Any, Any, Any]:
    seeds = run if run and not isinstance(run[0], Mapping) else [run]
    series = [dict(zip(*_series(rows, field, positive), strict=True)) for rows in seeds]
    common = set.intersection(*(set(one) for one in series))
    if not common:
        raise FsbError(f'run "{label}" has no number in {field}')
    steps = np.array(sorted(common))
    values = np.array([[one[step] for step in steps] for one in series])
    return steps, values.mean(0), values.std(0, ddof=1) if len(values) > 1 else None


def draw_lines(axes: Any, lines: Mapping[str, tuple[Any, Any, Any]], shaded: bool = False) -> None:
    """Draws label -> (x, y, half-width of the band or None), with a legend.

    ``shaded`` is for many ordered lines: from black to grey, with only some in the legend.
    """
    from matplotlib.ticker import EngFormatter

    last = len(lines) - 1
    named = set(np.linspace(0, last, 6).round().astype(int)) if shaded else set(range(last + 1))
    for i, (label, (x, y, spread)) in enumerate(lines.items()):
        style: dict[str, Any] = {"color": str(0.8 * i / last)} if shaded else line_style(i, len(x))
        axes.plot(x, y, linewidth=1.3, label=label if i in named else "_", **style)
        if spread is not None:
            axes.fill_between(x, y - spread, y + spread, color=style["color"], alpha=0.18, lw=0)
    axes.locator_params(axis="x", nbins=6, integer=True)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 20k: fits narrow panels
    axes.grid(color="0.9", linewidth=0.6)
    axes.tick_params(which="both", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    legend: dict[str, Any] = {"ncols": 1 + (len(named) > 7)}
    if shaded:  # no free corner
        legend = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    axes.legend(frameon=False, fontsize=8, handlelength=3, **legend)


def _write_ends(axes: Any) -> None:
    """Writes the last value of every line beside the axes at its height, or above the one below."""
    if len(axes.lines) > 8:  # too many to stand above each other
        return
    axes.get_ylim()  # sets the limits, if none are set yet
    place = axes.transData + axes.transAxes.inverted()
    ends = [(*line.get_xydata()[-1], line.get_color()) for line in axes.lines]
    highest = -1.0
    for height, value, colour in sorted((place.transform((x, y))[1], y, c) for x, y, c in ends):
        highest = max(min(max(height, 0.0), 1.0), highest + 0.055)  # a value may be off the axis
        text = f"{value:.4g}".replace("-", "\N{MINUS SIGN}")
        axes.text(1.01, highest, text, transform=axes.transAxes, size=7, color=colour, va="center")


def _limit(axes: Any, values: Sequence[Any]) -> None:
    """Cuts off the initial rise if it would take up most of the axis, and says so."""
    start = min(np.quantile(line, 0.1, method="higher") for line in values)
    low, top = np.concatenate(values).min(), np.concatenate(values).max()
    if top - start < 0.5 * (top - low):
        margin = 0.05 * (top - start) or 1.0
        axes.set_ylim(start - margin, top + margin)
        note = f"lowest value: {low:.4g}, below the axis".replace("-", "\N{MINUS SIGN}")
        axes.set_title(note, loc="right", size=7, color="0.35", y=1.0)


def _by_number(name: str) -> tuple[str, int]:
    stem, _, number = name.rpartition("_")
    return (stem, int(number)) if number.isdecimal() else (name, 0)


def _words(name: str) -> str:
    return name.replace("_", " ").replace("elbo", "ELBO [nats]")
