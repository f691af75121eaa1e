"""python -m fsb.lab: bias, variance and cost of estimators, side by side on one problem.

All estimators draw with the same keys, and take turns: differences between them, in what they
estimate and in how long they take, have less error than the numbers themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
from fsb.lab import selection
from fsb.lab.measure import enumerable, measure, rows, sizes
from fsb.lab.problems import Problem
from fsb.lab.report import pictures, table, write_parameters
from fsb.runtime.xla import compilation_cache
from fsb.sites import trace_sites
from fsb.storage.atomic import write_json_atomic
from fsb.storage.metrics_file import MetricsFile
from fsb.storage.provenance import provenance


def check(config: DictConfig) -> Problem:
    """Whether the estimators and the problem are there, and one can serve the other."""
    problem = build(config, "problem")
    selection.require_one(selection.chosen(config), problem)
    return problem


@program("lab", Lab, check)
def main(config: DictConfig, checked: Problem | None) -> None:
    """Measure, print the table, and save it with its picture in a folder of its own."""
    compilation_cache(config.compilation_cache)
    problem = checked or build(config, "problem")
    estimators, refused = selection.serving(selection.chosen(config), problem)
    params = next(iter(problem.points.values()))
    if mixes_examples(problem.loss, params, jax.random.key(config.seed)):
        raise FsbError(
            "problem: the loss of one example depends on the samples of another (BatchNorm?), so "
            "that neither the exact gradient nor most estimators exist; use GroupNorm or LayerNorm"
        )
    exact = enumerable(problem, config.max_states)
    reference = "exact enumeration" if exact else config.reference
    if not exact:
        estimators |= selection.reference(config, problem)
    size = sizes(config)
    found = measure(problem, estimators, size, config.seed)
    folder = selection.new_folder(Path(HydraConfig.get().runtime.output_dir))
    results = MetricsFile(folder / "table.csv")
    first = "st" if "st" in estimators else next(iter(estimators))
    everything: dict[int, list[dict[str, Any]]] = {}
    for step, params in problem.points.items():
        true: Any = config.reference
        if exact:
            true = ravel_pytree(exact_gradient(problem.loss, params, config.max_states))[0]
        everything[step] = rows(found[step], true, first)
        for row in everything[step]:
            results.append({"step": step, **row})
        write_parameters(folder / "parameters.csv", step, params, found[step])
        print(table(everything[step], first, f"step {step}" if len(problem.points) > 1 else ""))
    for name, reason in refused.items():
        print(f"{name}: left out: {reason}")
    title = HydraConfig.get().runtime.choices["problem"]
    pictures(folder, everything, f"{title}, reference: {reference}", first)
    units = {site.name: list(jnp.shape(site.z)) for site in trace_sites(problem.loss, params)}
    plain: Any = OmegaConf.to_container(config)
    settings = {k: plain[k] for k in plain if k not in ("compilation_cache", "modules")}
    record = {"sites": units, "reference": reference, "left_out": refused, **settings}
    write_json_atomic(folder / "summary.json", record | provenance())
    print(f"reference: {reference}; * bias of more than 4 standard errors")
    print(folder)


if __name__ == "__main__":
    main()
