"""python -m fsb.lab: bias, variance and cost of estimators, side by side on one problem.

All estimators draw with the same keys and take turns, so that the differences between them, in
their estimates and in their times, have less error than the numbers themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from hydra.core.hydra_config import HydraConfig
from jax.flatten_util import ravel_pytree
from omegaconf import DictConfig, OmegaConf

from fsb.cli.factory import build
from fsb.cli.program import program
from fsb.cli.schema import Lab
from fsb.diagnostics import exact_gradient, mixes_examples
from fsb.errors import FsbError
from fsb.lab.measure import enumerable, measure, rows, sizes
from fsb.lab.problems import Problem
from fsb.lab.report import parameter_rows, pictures, table
from fsb.lab.selection import chosen, reference_of, serving
from fsb.runtime.xla import compilation_cache
from fsb.sites import trace_sites
from fsb.storage.atomic import write_json_atomic
from fsb.storage.metrics_file import write_csv
from fsb.storage.provenance import provenance
from fsb.storage.run_folder import new_folder
from fsb.types import Estimator


class Checked(NamedTuple):
    """The problem, the estimators that serve it, and why each of the others does not."""

    problem: Problem
    estimators: dict[str, Estimator]
    refused: dict[str, str]


def check(config: DictConfig) -> Checked:
    """Builds the problem and the estimators, one of which at least must serve it."""
    problem = build(config, "problem")
    return Checked(problem, *serving(chosen(config), problem))


@program("lab", Lab, check)
def main(config: DictConfig, checked: Any) -> None:
    """Measure, print the table, and save it with its plots in a folder of its own."""
    compilation_cache(config.compilation_cache)
    problem, estimators, refused = checked or check(config)
    params = next(iter(problem.points.values()))
    if mixes_examples(problem.loss, params, jax.random.key(config.seed)):
        raise FsbError(
            "problem: the loss of one example depends on the samples of another (BatchNorm?), so "
            "neither the exact gradient nor most estimates exist; use GroupNorm or LayerNorm"
        )
    exact = enumerable(problem, config.max_states)
    reference = "exact enumeration" if exact else config.reference
    if not exact:
        estimators |= reference_of(config, problem)
    size = sizes(config)
    found = measure(problem, estimators, size, config.seed)
    folder = new_folder(Path(HydraConfig.get().runtime.output_dir))
    first = "st" if "st" in estimators else next(iter(estimators))
    everything: dict[int, list[dict[str, Any]]] = {}
    parameters: list[dict[str, Any]] = []
    for step, params in problem.points.items():
        true: Any = config.reference
        if exact:
            true = ravel_pytree(exact_gradient(problem.loss, params, config.max_states))[0]
        everything[step] = rows(found[step], true, first)
        parameters += parameter_rows(step, params, found[step])
        print(table(everything[step], first, f"step {step}" if len(problem.points) > 1 else ""))
    lines = [{"step": step, **row} for step, some in everything.items() for row in some]
    write_csv(folder / "table.csv", lines)
    write_csv(folder / "parameters.csv", parameters)
    for name, reason in refused.items():
        print(f"{name}: left out: {reason}")
    title = problem.title or described(config.problem, HydraConfig.get().runtime.choices["problem"])
    pictures(folder, everything, f"{title}; reference: {reference}", first)
    units = {site.name: list(jnp.shape(site.z)) for site in trace_sites(problem.loss, params)}
    plain: Any = OmegaConf.to_container(config)
    settings = {k: plain[k] for k in plain if k not in ("compilation_cache", "modules")}
    record = {
        "title": title,
        "sites": units,
        "reference": reference,
        "left_out": refused,
        **settings,
    }
    write_json_atomic(folder / "summary.json", record | provenance())
    print(f"reference: {reference}; * bias of more than 4 standard errors")
    print(folder)


def described(settings: DictConfig, name: str) -> str:
    """A problem in a line, for a title: its name and its settings."""
    given = {str(key): value for key, value in settings.items() if value is not None}
    return ", ".join([name, *(f"{k} {v}" for k, v in given.items() if k != "_target_")])


if __name__ == "__main__":
    main()
