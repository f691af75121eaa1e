"""What recorded trainings and timings say of the papers' tables: claims.json beside their csv."""

from __future__ import annotations

import json
from pathlib import Path

import recorded_fourier
import recorded_muprop
import recorded_regression
from ledger import OPEN
from tables import number, run_of, table

from fsb.storage.atomic import write_json_atomic
from fsb.storage.metrics_file import MetricsFile

SETTING = (
    "Not the same setting: {steps:,} steps, not some 2 million; learning rate 6e-4 only; our own "
    "choice of what the paper leaves out. One seed."
)


def trained(folder, experiment, names):
    """ELBOs at the number of steps that were made: no verdict on the paper's own."""
    rows = table(folder)
    commit = rows["st"]["git_commit"][:7]
    show = lambda field: ", ".join(f"{name} {row[field]:.2f}" for name, row in rows.items())
    shared = {
        "verdict": OPEN,
        "note": SETTING.format(steps=rows["st"]["steps"]),
        "command": run_of(experiment),
        "commit": commit,
        "seed": 0,
        "seeds": 1,
        "share": rows["st"]["steps"] / 2_000_000,
    }
    return {
        name: {"ours": f"so far, 2 layers of 200: {kind} ELBO {show(f'{kind}_elbo')}",
               **shared}
        for name, kind in names.items()
    }  # fmt: skip


def timed(folder):
    """Table 1: ratios of the times of a step, on a CPU."""
    ratios = ratios_of(folder)
    deep = {layers: ratios_of(folder / f"rebar_{layers}")["rebar"] for layers in (1, 2, 5)}
    single = {name: ratios[name] for name in ("darn", "foust", "gumbel_softmax")}
    shown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in single.items())
    shared = {"seed": 0, "same_machine": False}
    return {
        "A table 1, one evaluation": {
            "ours": f"time of a step over ST's, 2 layers: {shown}",
            "theirs": "2 layers: DARN 1.03, FouST 1.08, Gumbel 1.14; 5 layers: DARN 1.08, FouST "
            "1.14, Gumbel 1.24",
            "checks": [number(f"{name} / ST", ratio, "<", 1.25) for name, ratio in single.items()],
            "note": "Two CPU cores, compiled; theirs on a GPU, a whole epoch.",
            "command": "python -m fsb.bench", "commit": made_by(folder), **shared,
        },
        "A table 1, REBAR": {
            "ours": "time of a step over ST's: "
            + ", ".join(f"{ratio:.1f} ({n} layers)" for n, ratio in deep.items()),
            "theirs": "15.8 (2 layers), 41.4 (5 layers)",
            "checks": [number("REBAR / ST, 2 layers", deep[2], "=", 45.3 / 2.86, 3),
                       number("REBAR / ST, 5 layers", deep[5], "=", 205.15 / 4.96, 8)],
            "note": "Two CPU cores, compiled; theirs on a GPU. Of a gradient alone 4.7 and 8.0 "
            "(experiments/lab_mnist).",
            "command": "python -m fsb.bench suite=estimators layers=2 'estimators=[rebar,relax]'",
            "commit": made_by(folder / "rebar_2"), **shared,
        },
    }  # fmt: skip


def ratios_of(folder):
    """The times of a step over straight-through's."""
    rows = MetricsFile(folder / "results.csv").read()
    return {row.get("variant") or row["estimator"]: row["ratio"] for row in rows}


def made_by(folder):
    return json.loads((folder / "results.json").read_text())["git_commit"][:7]


def found(experiments):
    """folder -> its records, of the folders whose numbers bear on a table or figure."""
    experiments = Path(experiments)
    mnist, omniglot = experiments / "compare_mnist", experiments / "compare_omniglot"
    bench, toys = experiments / "bench_cpu", experiments / "continuous_toys"
    variance = experiments / "continuous_variance"
    return {
        mnist: trained(mnist, "compare_mnist", {"A fig 4": "train", "A table 2": "test"}),
        omniglot: trained(omniglot, "compare_omniglot", {"A fig 2": "train"}),
        bench: timed(bench),
        toys: recorded_fourier.toys(toys),
        variance: recorded_fourier.variance(variance),
        experiments / "bayesian_regression": recorded_regression.regression(
            experiments / "bayesian_regression"
        ),
        experiments / "muprop": recorded_muprop.tables(experiments / "muprop"),
        experiments / "fourier_tables": recorded_fourier.tables(experiments / "fourier_tables"),
    }


def write(experiments):
    """claims.json in each of them."""
    for folder, records in found(experiments).items():
        write_json_atomic(folder / "claims.json", records)
