"""Colours, line styles and files of all plots."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fsb.errors import FsbError

# The colour-blind safe palette of Okabe and Ito, from dark to light.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def new_figure(width: float, height: float, title: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    if title:
        figure.suptitle(title, size=11)
    return figure


def log_scale(axes: Any, which: str) -> None:
    """With plain numbers at the ticks; setting formulas takes as long as drawing the lines."""
    from matplotlib.ticker import LogFormatter

    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(LogFormatter(labelOnlyBase=False))


def fixed_margins(figure: Any, rows: int, columns: int) -> None:
    """In place of the constrained layout, which takes as long as all the rest of a plot."""
    figure.set_layout_engine(None)
    width, height = figure.get_size_inches()
    panel_width = (width - 1.2) / columns - 1.1
    panel_height = (height - 0.7) / rows - 0.75
    figure.subplots_adjust(
        left=0.75 / width,
        right=1 - 0.45 / width,
        bottom=0.5 / height,
        top=1 - 0.65 / height,
        wspace=1.1 / panel_width,
        hspace=0.75 / panel_height,
    )


def line_style(i: int, points: int) -> dict[str, Any]:
    """The i-th combination of colour, dash and marker, of 49 distinct ones."""
    n, gap = len(COLOURS), max(1, points // 8)
    turn = (i + i // n) % n
    dash = {"color": COLOURS[i % n], "linestyle": DASHES[turn], "marker": MARKERS[turn]}
    return {**dash, "markersize": 4, "markevery": (i * gap // 4 % gap, gap)}


def save(figure: Any, path: str | Path) -> None:
    """Saves a figure to ``path``, in the format of its suffix.

    It is written beside the path and then renamed, so that a killed run leaves no partial picture,
    and a symbolic link at the path is replaced and not followed.

    Raises:
      FsbError: if it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(temporary, format=path.suffix[1:])
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FsbError(f"cannot write {path}: {error.strerror or error}") from error
