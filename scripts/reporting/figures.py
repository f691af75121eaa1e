"""Interactive figures of recorded tables, for plotly.js: nothing is computed but means."""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np

from fsb.storage.style import COLOURS

DASHES = ("solid", "dash", "dashdot", "dot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
AXIS = {"gridcolor": "#e5e5e5", "zerolinecolor": "#ccc"}
UNITS = {
    "train_elbo": "train ELBO, nats",
    "test_elbo": "test ELBO, nats",
    "valid_elbo": "validation ELBO, nats",
    "gradient_variance": "variance of the gradient, trace of the covariance",
    "gradient_norm": "norm of the gradient",
    "train_objective": "objective in training, nats",
    "loss": "expected loss",
    "log_variance": "log variance of the gradient",
    "elbo": "ELBO / N, nats",
    "accuracy": "accuracy",
    "p": "mean p",
}
LOGARITHMIC = {"gradient_variance", "to_score", "to_pathwise", "norm"}
LEFT_OUT = {"epoch", "learning_rate", "wall_seconds", "steps_per_second", "data_wait", "spread"}
OPENING = 0.1  # share of the steps that the first view may cut off: the steep rise


def layout(x, y, log=False, start=None):
    """Axes with their names; the legend below, so that a narrow screen keeps the curves."""
    found = {
        "xaxis": {"title": {"text": x, "standoff": 6}, **AXIS},
        "yaxis": {"title": {"text": y}, **AXIS, "type": "log" if log else "linear"},
    }
    if start:
        found["yaxis"]["range"] = start
    return found


def look(i):
    """The i-th colour, dash and marker."""
    n = len(COLOURS)
    return (
        {"color": COLOURS[i % n], "dash": DASHES[(i + i // n) % len(DASHES)]},
        {"symbol": MARKERS[(i + i // n) % len(MARKERS)], "size": 6},
    )


def line(i, name, x, y, sd=None):
    """One run, or the mean of several with a band of one standard deviation."""
    stroke, marker = look(i)
    curve = {"x": x, "y": y, "name": name, "mode": "lines+markers", "line": stroke,
             "marker": marker, "legendgroup": name}  # fmt: skip
    if sd is None or not any(sd):
        return [curve]
    low, high = ([a + sign * b for a, b in zip(y, sd, strict=True)] for sign in (-1, 1))
    band = {"x": x + x[::-1], "y": high + low[::-1], "fill": "toself", "legendgroup": name,
            "showlegend": False, "hoverinfo": "skip", "mode": "lines", "line": {"width": 0},
            "fillcolor": stroke["color"], "opacity": 0.18}  # fmt: skip
    return [band, curve]


def over_seeds(rows, field):
    """Steps, means and standard deviations over the rows of a step."""
    found, given = defaultdict(list), {}
    for row in rows:
        if isinstance(row.get(field), int | float) and np.isfinite(row[field]):
            found[row["step"]].append(row[field])
            given[row["step"]] = row.get(f"{field}_sd", row.get("spread" if field == "p" else "-"))
    steps = sorted(found)
    means = [short(np.mean(found[step])) for step in steps]
    if any(len(values) > 1 for values in found.values()):
        return steps, means, [short(np.std(found[s], ddof=len(found[s]) > 1)) for s in steps]
    sd = [given[step] for step in steps]
    return steps, means, None if None in sd else sd


def short(x):
    return float(f"{x:.6g}")


def view_range(lines, log):
    """The range of y after the opening, with some air; all of it where that is half of it."""
    last = max((x for curve in lines for x in curve["x"]), default=0)
    late = [
        y
        for curve in lines
        if "fill" not in curve
        for x, y in zip(curve["x"], curve["y"], strict=True)
        if x > OPENING * last and (y > 0 or not log)
    ]
    if log or not late:
        return None
    low, high = min(late), max(late)
    air = 0.06 * (high - low) or 1.0
    return [low - air, high + air]


def brief(names):
    """Names of runs without what tells none of them apart: "a (k 1, l 2)" -> "k 1"."""
    found = {name: re.fullmatch(r"(\S+) \((.*)\)", name) for name in names}
    if not all(found.values()) or len({m[1] for m in found.values()}) > 1:
        return {name: name for name in names}
    parts = {name: m[2].split(", ") for name, m in found.items()}
    if len({len(part) for part in parts.values()}) > 1:
        return {name: name for name in names}
    columns, kept = list(zip(*parts.values(), strict=True)), []
    for i, column in enumerate(columns):
        later = [len(set(zip(column, other, strict=True))) for other in columns[i + 1 :]]
        if len(set(column)) > 1 and len(set(column)) not in later:  # else a later one says it
            kept.append(i)
    return {name: ", ".join(part[i] for i in kept) for name, part in parts.items()}


def curves(rows):
    """Views of a table of curves: one for each number and each setting that is no line.

    The columns before ``step`` name the line (``run`` or ``estimator``), the seed, and settings.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    keys = names[: names.index("step")]
    who = "run" if "run" in keys else "estimator"
    settings = [key for key in keys if key not in (who, "seed")]
    fields = [
        name for name in names[names.index("step") + 1 :]
        if name not in LEFT_OUT and not name.endswith("_sd")
        and any(isinstance(row.get(name), int | float) for row in rows)
    ]  # fmt: skip
    fields.sort(key=lambda name: list(UNITS).index(name) if name in UNITS else len(UNITS))
    groups = defaultdict(list)
    for row in rows:
        groups[tuple((key, row[key]) for key in settings)].append(row)
    views = {}
    for group, chosen in groups.items():
        said = ", ".join(str(v) if isinstance(v, str) else f"{k} {v}" for k, v in group)
        for field in fields:
            lines = []
            names = brief(list(dict.fromkeys(row[who] for row in chosen)))
            for i, (name, said_of) in enumerate(names.items()):
                x, y, sd = over_seeds([row for row in chosen if row[who] == name], field)
                lines += line(i, said_of, x, y, sd) if x else []
            title = UNITS.get(field, field.replace("_", " "))
            log = field in LOGARITHMIC
            shown = layout("step", title, log, view_range(lines, log))
            views[": ".join(filter(None, (said, title)))] = {"data": lines, "layout": shown}
    return views


def columns(rows, y, log=False):
    """Every column but ``step`` is a line."""
    names = [name for name in dict.fromkeys(n for row in rows for n in row) if name != "step"]
    data = []
    for i, name in enumerate(names):
        x, means, _ = over_seeds(rows, name)
        data += line(i, name, x, means) if x else []
    return {y: {"data": data, "layout": layout("step", y, log)}}


def laboratory(rows):
    """Bias, variance and cost of the estimators, two at a time; hovering names them."""
    pairs = {
        "variance and bias": ("bias_percent", "variance"),
        "variance and evaluations of the loss": ("evaluations", "variance"),
        "bias and evaluations of the loss": ("evaluations", "bias_percent"),
    }
    said = {
        "bias_percent": "bias, % of the gradient",
        "variance": "variance, trace of the covariance",
        "evaluations": "evaluations of the loss",
    }
    views = {}
    for view, (x, y) in pairs.items():
        data = []
        for i, row in enumerate(rows):
            if not row["variance"]:
                continue  # a deterministic one has no place on a logarithm
            mark = {"x": [row[x]], "y": [row[y]], "name": row["estimator"], "mode": "markers",
                    "marker": {**look(i)[1], "color": look(i)[0]["color"], "size": 9}}  # fmt: skip
            for axis, key in (("error_x", x), ("error_y", y)):
                if key == "bias_percent":
                    mark[axis] = {"array": [row["bias_error_percent"]], "thickness": 1}
            data.append(mark)
        shown = layout(said[x], said[y], y == "variance")
        if x == "evaluations":
            shown["xaxis"]["type"] = "log"
        views[view] = {"data": data, "layout": shown}
    return views


def families(rows):
    """Variance over that of the pathwise estimator, along each family's grid."""
    views = {}
    for family in dict.fromkeys(row["family"] for row in rows):
        chosen = [row for row in rows if row["family"] == family]
        data = []
        for i, name in enumerate(dict.fromkeys(row["estimator"] for row in chosen)):
            of = [row for row in chosen if row["estimator"] == name]
            x = [f"({row['eta']})" for row in of]
            data += line(i, name, x, [row["to_pathwise"] for row in of])
        shown = layout(f"parameters, {family}", "variance over pathwise's", True)
        shown["xaxis"]["type"] = "category"
        views[family] = {"data": data, "layout": shown}
    return views
