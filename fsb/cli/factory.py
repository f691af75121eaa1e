"""Builds what a configuration names: ``_target_`` is a factory, the other keys are its arguments.

This is stricter than ``hydra.utils.instantiate``, since a configuration may come from a stranger:
each key takes factories of one kind, from this library or from modules that the user trusts.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from fsb.cli.modules import imported, public, within
from fsb.cli.validate import UNBUILT, arguments, check_keys
from fsb.errors import FsbError, nearest, unknown


class Kind(NamedTuple):
    """Factories of one kind: ``names`` in ``module``, or all names in its ``__all__``."""

    what: str
    module: str
    names: str = ""

    def choices(self) -> list[str]:
        return self.names.split() or importlib.import_module(self.module).__all__


DATA = "arrays cifar10 digits faces fashion_mnist images miniimagenet mnist mnist_static omniglot"
DATA += " tfds"
ESTIMATOR = Kind("an estimator", "fsb.estimators")
OPTIMIZER = Kind("an optimizer", "fsb.optimizers", "adam sgd")
KINDS = {
    "data": Kind("a data set", "fsb.data", DATA),
    "model": Kind("a network", "fsb.networks", "sresnet structured vae"),
    "estimator": ESTIMATOR,
    "estimators": ESTIMATOR,
    "objective": Kind("an objective", "fsb.objectives", "elbo sampled_elbo"),
    "optimizer": OPTIMIZER,
    "control_optimizer": OPTIMIZER,
    "logger": Kind("a logger", "fsb.storage.loggers", "no_logger wandb_logger"),
    "problem": Kind("a problem", "fsb.lab.problems", "file mlp polynomial run sbn toy"),
}
"""The factories that each key of a configuration may name; no other key may name any."""

INNER = {
    "fsb.estimators": (ESTIMATOR,),
    "fsb.networks": (Kind("a distribution", "fsb.distributions"),),
}
"""The factories that the arguments of a factory of this library may name."""

OWN = (
    *(KINDS[key] for key in ("data", "model", "objective", "optimizer")),
    *sum(INNER.values(), ()),
)
"""The factories that the arguments of the user's own factories may name."""

_TARGET = "_target_"


def build(
    config: Any, key: str, *args: Any, traced: Mapping[str, Any] | None = None, **kwargs: Any
) -> Any:
    """Builds the object that the configuration describes at a key.

    Everything is checked before anything is called. Inner nodes, also those in lists and groups of
    keys, are built first.

    Args:
      config: a configuration, or plain data of that shape. Any key may name the public functions
        and classes in its ``modules``, which are the user's own.
      key: one of ``KINDS``.
      *args, **kwargs: arguments from the program, which the configuration may not name.
      traced: tracers of JAX that take the place of values, by full name ("estimator.delta"), after
        these were checked.

    Raises:
      FsbError: if a target is of another kind or does not exist; if an argument is unknown,
        missing, given twice or of the wrong type; or if the factory refuses its arguments.

    >>> build({"estimator": {"_target_": "os.system", "command": "true"}}, "estimator")
    Traceback (most recent call last):
    fsb.errors.FsbError: estimator._target_: os.system is not an estimator; choose from ...
    """

    def make(factory: Callable, path: str, values: Mapping) -> Any:
        given, named = (args, kwargs) if path == key else ((), {})
        values = dict(_bound(factory, path, values, given, named))
        values |= {k: v for k in values if (v := (traced or {}).get(f"{path}.{k}")) is not None}
        return _call(factory, path, values, given, named)

    verify(config, key)
    return _visit(config, key, make)


def verify(config: Any, key: str) -> None:
    """Checks what ``build`` would check without calling anything; arguments may be missing.

    Raises:
      FsbError: as ``build``.
    """

    def make(factory: Callable, path: str, values: Mapping) -> Any:
        arguments(factory, values, path)
        return UNBUILT

    _visit(config, key, make)


def require_buildable(config: Any, key: str, *args: Any) -> None:
    """Checks all that ``build(config, key, *args)`` would check, without calling anything.

    Raises:
      FsbError: as ``build``, short of what the factories themselves refuse.
    """

    def make(factory: Callable, path: str, values: Mapping) -> Any:
        _bound(factory, path, values, args if path == key else (), {})
        return UNBUILT

    _visit(config, key, make)


def checked(values: Mapping, schema: Any) -> DictConfig:
    """Checks and converts the values of a configuration, which is closed to new keys.

    Raises:
      FsbError: if a key, or an argument of a factory, is unknown, missing or wrong.
    """
    every = dataclasses.asdict(check_keys(schema, values))
    for i, name in enumerate(every["modules"]):
        imported(name, f"modules[{i}]")
    for key, value in every.items():
        if isinstance(value, dict | list):
            verify(every, key)
    result = OmegaConf.create({key: every[key] for key in values})
    OmegaConf.set_struct(result, True)
    return result


def _visit(config: Any, key: str, make: Callable) -> Any:
    """The value at a key; ``make`` is called for each node with a _target_, inner ones first."""
    node, modules = config[key], tuple(config.get("modules", ()))
    node = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node

    def visit(value: Any, path: str, kinds: tuple[Kind, ...]) -> Any:
        if isinstance(value, list):
            return [visit(item, f"{path}[{i}]", kinds) for i, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if _TARGET in value:
            factory, kinds = resolve(value[_TARGET], kinds, modules, f"{path}.{_TARGET}")
        items = {k: visit(v, f"{path}.{k}", kinds) for k, v in value.items() if k != _TARGET}
        return make(factory, path, items) if _TARGET in value else items

    if key in KINDS and isinstance(node, dict) and _TARGET not in node:
        raise FsbError(f"{key}: its configuration has no _target_, the name of a factory")
    return visit(node, key, (KINDS[key],) if key in KINDS else ())


def _bound(factory: Callable, path: str, values: Mapping, args: tuple, kwargs: Mapping) -> Mapping:
    """The converted values; raises FsbError if one is wrong or missing."""
    signature = inspect.signature(factory)
    given = {*list(signature.parameters)[: len(args)], *kwargs}
    values = arguments(factory, values, path, given)
    try:
        signature.bind(*args, **values, **kwargs)
    except TypeError as error:
        raise FsbError(f"{path}: {error} of {factory.__module__}.{factory.__name__}") from None
    return values


def _call(factory: Callable, path: str, values: Mapping, args: tuple, kwargs: Mapping) -> Any:
    try:
        return factory(*args, **values, **kwargs)
    except FsbError as error:
        named = str(error).startswith((f"{path}.", f"{path}:"))
        raise FsbError(str(error) if named else f"{path}: {error}") from error


def resolve(
    target: Any, kinds: tuple[Kind, ...], modules: tuple[str, ...], where: str = _TARGET
) -> tuple[Callable, tuple[Kind, ...]]:
    """The factory called ``target``, and the kinds that its arguments may name.

    Raises:
      FsbError: if it is not of one of the kinds, and not public in one of the modules.
    """
    parts = target.split(".") if isinstance(target, str) else []
    if len(parts) < 2 or not all(p.isidentifier() and not p.startswith("_") for p in parts):
        raise FsbError(
            f"{where}: {target} is not a public dotted name, such as fsb.estimators.st, "
            "or mine.factory of a file mine.py, with modules=[mine]"
        )
    home, _, name = target.rpartition(".")
    if within(home, modules):
        own = public(imported(home, where), (home, *modules))
        if name not in own:
            raise unknown(where, target, [f"{home}.{key}" for key in own])
        return own[name], OWN
    if any(home == kind.module and name in kind.choices() for kind in kinds):
        return getattr(importlib.import_module(home), name), INNER.get(home, ())
    what = " or ".join(kind.what for kind in kinds) or "allowed here"
    names = [f"{kind.module}.{name}" for kind in kinds for name in kind.choices()]
    near = nearest(target, names, cutoff=0.85) or ";"
    lists = [f"{kind.module} ({', '.join(kind.choices())})" for kind in kinds]
    ours = f"{', '.join(lists)}, or " if lists else ""
    raise FsbError(
        f"{where}: {target} is not {what}{near} choose from {ours}your own with modules=[...]"
    )
