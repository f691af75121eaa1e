"""Which estimators python -m fsb.lab looks at, and the folder it writes to."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import jax
from omegaconf import DictConfig, OmegaConf

from fsb.cli.factory import build
from fsb.cli.modules import from_file
from fsb.cli.program import configs_dir
from fsb.errors import FsbError, unknown
from fsb.gradients import init, stateful_value_and_grad
from fsb.lab.problems import Problem
from fsb.types import Estimator


def chosen(config: DictConfig) -> dict[str, Estimator]:
    """The estimators that the configuration asks for, by name.

    Raises:
      FsbError: a name is unknown, or comes twice.
    """
    names = sorted(path.stem for path in (configs_dir() / "estimator").glob("*.yaml"))
    wanted = config.estimators
    if wanted == "all":
        wanted = [name for name in names if name not in config.leave_out]
    elif OmegaConf.is_dict(wanted) or isinstance(wanted, str):
        wanted = [wanted]
    estimators: dict[str, Estimator] = {}
    for i, entry in enumerate(wanted):
        name, estimator = _made(entry, f"estimators[{i}]", names, config.modules)
        if name in estimators:
            raise FsbError(f"estimators[{i}]: {name} comes twice")
        estimators[name] = estimator
    return estimators


def require_one(estimators: dict[str, Estimator], problem: Problem) -> None:
    """Raises FsbError if none of the estimators can serve the problem."""
    reasons = []
    for estimator in estimators.values():
        reason = refusal(estimator, problem)
        if reason is None:
            return
        reasons.append(reason)
    raise FsbError(f"estimators: none can serve this problem: {'; '.join(reasons)}")


def serving(
    estimators: dict[str, Estimator], problem: Problem
) -> tuple[dict[str, Estimator], dict[str, str]]:
    """The estimators that can serve the problem, and the reasons why others cannot, by name."""
    able: dict[str, Estimator] = {}
    refused: dict[str, str] = {}
    for name, estimator in estimators.items():
        reason = refusal(estimator, problem)
        if reason is None:
            able[name] = estimator
        else:
            refused[name] = reason
    return able, refused


def reference(config: DictConfig, problem: Problem) -> dict[str, Estimator]:
    """The unbiased estimator that stands for the exact gradient."""
    names = sorted(path.stem for path in (configs_dir() / "estimator").glob("*.yaml"))
    name, estimator = _made(config.reference, "reference", names, config.modules)
    reason = refusal(estimator, problem)
    if reason is not None:
        raise FsbError(f"reference: {reason}")
    return {name: estimator}


def refusal(estimator: Estimator, problem: Problem) -> str | None:
    """Why the estimator cannot serve the problem, found without computing anything."""
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


def _made(entry: Any, where: str, names: list[str], modules: list[str]) -> tuple[str, Estimator]:
    """An estimator and the name it goes by in the table."""
    if isinstance(entry, str) and ".py:" in entry:
        name, estimator = entry.rpartition(":")[2], from_file(entry, where)()
    elif isinstance(entry, str):
        if entry not in names:
            raise unknown(where, entry, names)
        node = OmegaConf.load(configs_dir() / "estimator" / f"{entry}.yaml")
        name, estimator = entry, build({"estimator": node, "modules": modules}, "estimator")
    elif OmegaConf.is_dict(entry) and "_target_" in entry:
        settings = {key: value for key, value in entry.items() if key != "_target_"}
        plain = [f"{k}={v}" for k, v in settings.items() if not OmegaConf.is_config(v)]
        factory = str(entry["_target_"]).rpartition(".")[2]
        name = f"{factory}({', '.join(plain)})" if plain else factory
        estimator = build({"estimator": entry, "modules": modules}, "estimator")
    else:
        raise FsbError(
            f"{where}: {entry} is not a name, path/to/file.py:factory or {{_target_: ...}}"
        )
    if not isinstance(estimator, Estimator):
        raise FsbError(f"{where}: {name} makes no fsb.Estimator, but {type(estimator).__name__}")
    return name, estimator


def new_folder(path: Path) -> Path:
    """Makes ``path``; or, where it holds something, the first empty one of ``path-2``, ..."""
    for number in itertools.count(1):
        place = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            place.mkdir(parents=True, exist_ok=True)
            if not any(place.iterdir()):
                break
        except OSError as error:
            raise FsbError(f"cannot make the folder {place}: {error.strerror}") from error
    return place
