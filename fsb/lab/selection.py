"""The estimators that python -m fsb.lab measures."""

from __future__ import annotations

from typing import Any

import jax
from omegaconf import DictConfig, OmegaConf

from fsb.cli.factory import build
from fsb.cli.modules import from_file
from fsb.cli.program import configs_dir
from fsb.errors import FsbError, unknown
from fsb.gradients import init, stateful_value_and_grad
from fsb.lab.problems import Problem
from fsb.storage.provenance import factory_name
from fsb.types import Estimator


def chosen(config: DictConfig) -> dict[str, Estimator]:
    """The estimators that the configuration asks for, by name.

    Raises:
      FsbError: if a name is unknown, or is given twice.
    """
    wanted = config.estimators
    if wanted == "all":
        wanted = [name for name in _names() if name not in config.leave_out]
    elif OmegaConf.is_dict(wanted) or isinstance(wanted, str):
        wanted = [wanted]
    if not OmegaConf.is_list(wanted) and not isinstance(wanted, list):
        raise FsbError(f"estimators: {wanted} is neither all, a name, nor a list of names")
    estimators: dict[str, Estimator] = {}
    for i, entry in enumerate(wanted):
        name, estimator = _made(entry, f"estimators[{i}]", config.modules)
        if name in estimators:
            raise FsbError(f"estimators[{i}]: {name} is given twice")
        estimators[name] = estimator
    return estimators


def serving(
    estimators: dict[str, Estimator], problem: Problem
) -> tuple[dict[str, Estimator], dict[str, str]]:
    """The estimators that can serve the problem, and the reasons why the others cannot, by name.

    Raises:
      FsbError: if none can.
    """
    refused = {name: refusal(estimator, problem) for name, estimator in estimators.items()}
    able = {name: estimators[name] for name, reason in refused.items() if reason is None}
    reasons = {name: reason for name, reason in refused.items() if reason is not None}
    if not able:
        raise FsbError(f"estimators: none serves this problem: {'; '.join(reasons.values())}")
    return able, reasons


def reference_of(config: DictConfig, problem: Problem) -> dict[str, Estimator]:
    """The unbiased estimator that replaces the exact gradient.

    Raises:
      FsbError: if it cannot serve the problem.
    """
    name, estimator = _made(config.reference, "reference", config.modules)
    reason = refusal(estimator, problem)
    if reason is not None:
        raise FsbError(f"reference: {reason}")
    return {name: estimator}


def refusal(estimator: Estimator, problem: Problem) -> str | None:
    """Why the estimator cannot serve the problem; None if it can. Nothing is computed."""
    params = next(iter(problem.points.values()))

    def one(key):
        control, state = init(estimator, problem.loss, params, key)
        estimate = stateful_value_and_grad(estimator, problem.loss)
        return estimate(params, control, state, key).params

    try:
        jax.eval_shape(one, jax.random.key(0))
    except FsbError as error:
        return str(error)
    return None


def _names() -> list[str]:
    """The names of the estimators that have a configuration."""
    return sorted(path.stem for path in (configs_dir() / "estimator").glob("*.yaml"))


def _made(entry: Any, where: str, modules: list[str]) -> tuple[str, Estimator]:
    """An estimator and its name in the table."""
    if isinstance(entry, str) and ".py:" in entry:
        name, estimator = entry.rpartition(":")[2], from_file(entry, where)()
    elif isinstance(entry, str):
        if entry not in _names():
            raise FsbError(f"{unknown(where, entry, _names())}; your own: path/to/file.py:factory")
        node = _configured(entry)
        name, estimator = entry, _built(node, modules)
    elif OmegaConf.is_dict(entry) and "_target_" in entry:
        settings = {key: value for key, value in entry.items() if key != "_target_"}
        plain = [f"{k}={v}" for k, v in settings.items() if not OmegaConf.is_config(v)]
        factory = factory_name(entry)
        name = f"{factory}({', '.join(plain)})" if plain else factory
        estimator = _built(entry, modules)
    else:
        raise FsbError(
            f"{where}: {entry} is not a name, path/to/file.py:factory or {{_target_: ...}}"
        )
    if not isinstance(estimator, Estimator):
        raise FsbError(f"{where}: {name} makes {type(estimator).__name__}, not an fsb.Estimator")
    return name, estimator


def _configured(name: str) -> Any:
    """The configuration of an estimator, with those that it builds on."""
    node: Any = OmegaConf.load(configs_dir() / "estimator" / f"{name}.yaml")
    return OmegaConf.merge(*map(_configured, node.pop("defaults", ())), node)


def _built(node: Any, modules: list[str]) -> Estimator:
    plain = OmegaConf.to_container(node)
    return build({"estimator": plain, "modules": list(modules)}, "estimator")
