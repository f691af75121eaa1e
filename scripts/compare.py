"""Puts the runs below a folder side by side: results.csv, curves.csv and plots.

    python scripts/compare.py runs/multirun/2026-01-31/12-00-00 experiments/compare_mnist

Runs that differ in their seed alone become one line with a band of one standard deviation.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fsb.storage.curves import compare_curves
from fsb.storage.metrics_file import MetricsFile, write_csv
from fsb.storage.provenance import factory_name
from fsb.storage.run_folder import read_summary

FIELDS = ("train_elbo", "test_elbo", "gradient_variance")
RESULTS = (
    "train_elbo",
    "valid_elbo",
    "test_elbo",
    "test_bound_100",
    "test_bound_100_se",
    "test_bound_200",
    "test_bound_200_se",
    "test_bits_per_dim",
    "steps",
    "steps_per_second",
    "wall_seconds",
    "parameters",
    "git_commit",
    "device",
)


def settings(config: DictConfig) -> dict[str, str]:
    """The settings of a run by full name, estimator and data by their short ones."""
    flat = {}
    for group in ("data", "model", "estimator", "optimizer"):
        for key, value in config[group].items():
            inner = value.get("_target_", value) if isinstance(value, DictConfig) else value
            named = key == "_target_" or inner is not value
            short = factory_name({"_target_": inner}) if named else str(inner)
            flat[group if key == "_target_" else f"{group}.{key}"] = short
    return flat | {"seed": str(config.seed), "batch_size": str(config.batch_size)}


def label(run: dict[str, str], runs: list[dict[str, str]]) -> str:
    """The estimator, and what else differs between runs of the same estimator."""
    same = [other for other in runs if other["estimator"] == run["estimator"]]
    differing = [
        key for key in run if key != "seed" and len({other.get(key) for other in same}) > 1
    ]
    extra = ", ".join(f"{key.rpartition('.')[2]} {run[key]}" for key in differing)
    return f"{run['estimator']} ({extra})" if extra else run["estimator"]


def run_folders(home: Path, unfinished: bool) -> list[Path]:
    """The runs below a folder, the members of sweeps among them."""
    mark = "metrics.csv" if unfinished else "summary.json"
    found = sorted(path.parent for path in home.rglob(mark))
    sweeps = {path.parent for path in home.rglob("members.yaml")}
    copies = {sweep / "best" for sweep in sweeps}
    return [folder for folder in found if folder not in sweeps | copies]


def compare(runs_folder: Path, out: Path, title: str, unfinished: bool = False) -> None:
    """Collects every finished run below ``runs_folder``, or every run, into ``out``."""
    folders = run_folders(runs_folder, unfinished)
    if not folders:
        raise SystemExit(f"no finished run (summary.json) below {runs_folder}")
    found = [settings(OmegaConf.load(folder / "config.yaml")) for folder in folders]
    out.mkdir(parents=True, exist_ok=True)
    lines = defaultdict(list)
    results: list[dict] = []
    curves: list[dict] = []
    for folder, run in zip(folders, found, strict=True):
        rows = MetricsFile(folder / "metrics.csv").read()
        last = rows[-1] | {"steps": rows[-1]["step"]} if rows else {}
        summary = last | read_summary(folder)
        name = label(run, found)
        results.append(
            {"run": name, "data": run["data"], "seed": int(run["seed"])}
            | {key: summary[key] for key in RESULTS if key in summary}
        )
        for row in rows:
            curves.append({"run": name, "seed": int(run["seed"])} | row)
        lines[name].append(rows)
    write_csv(out / "results.csv", results)
    write_csv(out / "curves.csv", curves)
    for field in FIELDS:
        log = field == "gradient_variance"
        unit = "trace of the covariance" if log else "nats"
        for kind in ("png", "pdf"):
            words = field.replace("_", " ").replace("elbo", "ELBO")
            compare_curves(out / f"{field}.{kind}", lines, field, title, f"{words} ({unit})", log)
    print(f"{len(folders)} runs -> {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder of run folders, at any depth")
    parser.add_argument("out", type=Path, help="folder for the results, such as experiments/NAME")
    parser.add_argument("--title", default="", help="above the plots")
    parser.add_argument("--unfinished", action="store_true", help="runs that go on as well")
    arguments = parser.parse_args()
    compare(arguments.runs, arguments.out, arguments.title, arguments.unfinished)
