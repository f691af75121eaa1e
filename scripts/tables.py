"""Numbers out of the tables that trainings have left."""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np

from fsb.storage.metrics_file import MetricsFile


def table(folder):
    return {row["run"]: row for row in MetricsFile(folder / "results.csv").read()}


def best(folder, field):
    """-field of each estimator, in nats, at the learning rate that validation chooses."""
    chosen = {}
    for name, row in table(folder).items():
        if "estimator" in name:  # of a bound of several samples
            short = re.sub(r".*estimator (\w+).*", r"\1", name)
        else:
            short = name.split(" ")[0]
        if short not in chosen or row["valid_elbo"] > chosen[short]["valid_elbo"]:
            chosen[short] = row
    return {name: round(-row[field], 1) for name, row in chosen.items()}


def over_seeds(table, field, show=None):
    """Mean and standard deviation over the seeds of each kind of run, at the end, as text."""
    found = defaultdict(dict)
    for row in MetricsFile(table).read():
        found[row["run"]][row["seed"]] = row[field]  # the last of a run stays
    return {name: (show or spread)(list(seeds.values())) for name, seeds in found.items()}


def standard_error(values):
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def spread(values):
    """Mean and standard deviation as text; one number by itself."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} +- {np.std(values, ddof=1):.2f}"


def run_of(experiment):
    return f"python -m fsb.train experiment={experiment}"


def commits(folder, *names):
    rows = [row for name in names for row in table(folder / name).values()]
    return ", ".join(sorted({row["git_commit"][:7] for row in rows}))


def number(what, ours, relation, than, tolerance=0.0, **error):
    """A check; ``error``: the standard error of ours less theirs over the seeds."""
    numbers = {"ours": ours, "than": than, "tolerance": tolerance}
    return {
        "what": what,
        "relation": relation,
        **numbers,
        **{k: float(v) for k, v in error.items()},
    }
