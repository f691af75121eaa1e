"""Building what a configuration names: ``_target_`` is a factory, the other keys its arguments.

Stricter than ``hydra.utils.instantiate``, for a configuration may come from a stranger: only
factories of this library, and of modules the user trusts, can be named.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fsb.cli.compose import cause
from fsb.cli.validate import check_keys, convert
from fsb.errors import FsbError, unknown

FACTORIES = (
    "fsb.data",
    "fsb.distributions",
    "fsb.estimators",
    "fsb.storage.loggers.no_logger",
    "fsb.storage.loggers.wandb_logger",
    "fsb.networks",
    "fsb.objectives",
    "fsb.optimizers",
    "fsb.lab.problems",
)
"""What any configuration may name: these, and what these modules define or list in __all__.

Not among them are the programs, this machinery and whatever writes where its arguments say.
"""

_TARGET = "_target_"


def build(node: Any, *args: Any, modules: Iterable[str] = (), **kwargs: Any) -> Any:
    """The object a configuration describes.

    ``_target_`` is ``module.name`` of a public function or class, the other keys are its
    arguments, checked against its signature and type annotations. Nodes inside, also in lists and
    in groups of keys, are built first. A node without ``_target_`` is returned as plain data.

    Args:
      node: a node of a configuration, or plain data of that shape.
      *args, **kwargs: arguments that the program gives; the configuration may not name them.
      modules: the user's own modules that may be named, beside ``FACTORIES``.

    Raises:
      FsbError: the target is not allowed or does not exist; an argument is unknown, missing, given
        twice or of the wrong type; or the factory itself refuses.

    >>> build({"_target_": "fsb.distributions.Bernoulli", "low": -1})
    Bernoulli(low=-1.0, high=1.0)
    >>> build({"_target_": "fsb.estimators.foust", "dleta": 0.1})
    Traceback (most recent call last):
    fsb.errors.FsbError: arguments: unknown 'dleta'; did you mean delta? (choices: delta, ...)
    >>> build({"_target_": "os.system", "command": "true"})
    Traceback (most recent call last):
    fsb.errors.FsbError: _target_: os.system is not allowed, only what is in fsb.data, ...
    """

    def call(factory: Callable, path: str, given: Mapping, args: tuple, kwargs: Mapping) -> Any:
        _require(factory, path, given, args, kwargs)
        try:
            return factory(*args, **given, **kwargs)
        except FsbError as error:
            named = not path or str(error).startswith((f"{path}.", f"{path}:"))
            raise FsbError(str(error) if named else f"{path}: {error}") from error

    plain, path = _plain(node)
    return _visit(plain, path, tuple(modules), call, args, kwargs)


def verify(node: Any, modules: Iterable[str] = ()) -> None:
    """Check what ``build`` would check, calling nothing; arguments may be missing.

    Raises:
      FsbError: as ``build``.
    """
    plain, path = _plain(node)
    _visit(plain, path, tuple(modules), lambda *_: _Unbuilt(), (), {})


def checked(config: DictConfig, schema: Any) -> DictConfig:
    """The configuration with its keys checked and converted, resolved, and closed to new keys.

    Raises:
      FsbError: a key is unknown, missing or wrong, or so is an argument of a factory.
    """
    keys = [str(key) for key in config if key != "hydra"]
    try:
        values = OmegaConf.to_container(OmegaConf.masked_copy(config, keys), resolve=True)
    except OmegaConfBaseException as error:
        raise FsbError(f"{error.full_key}: {cause(error)}") from None
    values = check_keys(schema, cast(dict, values))
    modules = values.get("modules", ())
    for i, name in enumerate(modules):
        imported(name, f"modules[{i}]")
    for key, value in values.items():
        if isinstance(value, dict):
            verify({key: value}, modules)
    result = OmegaConf.create(values)
    OmegaConf.set_struct(result, True)
    return result


class _Unbuilt:
    """Stands for an object that ``verify`` does not build."""

    def __repr__(self) -> str:
        return "an object"


def _plain(node: Any) -> tuple[Any, str]:
    if not OmegaConf.is_config(node):
        return node, ""
    path = node._get_full_key(None) if isinstance(node, DictConfig) else ""
    return OmegaConf.to_container(node, resolve=True), path


def _visit(
    value: Any, path: str, modules: tuple, make: Callable, args: tuple, kwargs: Mapping
) -> Any:
    if isinstance(value, list):
        items = enumerate(value)
        return [_visit(item, f"{path}[{i}]", modules, make, (), {}) for i, item in items]
    if not isinstance(value, dict):
        return value
    dot = f"{path}." if path else ""
    children = {
        key: _visit(item, f"{dot}{key}", modules, make, (), {})
        for key, item in value.items()
        if key != _TARGET
    }
    if _TARGET not in value:
        return children
    factory = resolve(value[_TARGET], modules, f"{dot}{_TARGET}")
    given = _arguments(factory, path, children, args, kwargs)
    return make(factory, path, given, args, kwargs)


def _arguments(
    factory: Callable, path: str, values: Mapping, args: tuple, kwargs: Mapping
) -> dict[str, Any]:
    """The values as the factory's annotations ask for them; unknown names are refused."""
    dot = f"{path}." if path else ""
    parameters = _parameters(factory)
    passed = {*list(parameters)[: len(args)], *kwargs}
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    hints = {key: p.annotation for key, p in parameters.items() if p.kind in kinds}
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        hints = {**dict.fromkeys(values, Any), **hints}
    for key in values:
        if not isinstance(key, str) or key.startswith("_"):
            raise FsbError(f"{dot}{key}: only _target_ and arguments may stand here")
        if key in passed:
            raise FsbError(f"{dot}{key}: is given by the program, not by the configuration")
        if key not in hints:
            raise unknown(path or "arguments", key, hints.keys() - passed)
    return {key: convert(value, hints[key], f"{dot}{key}") for key, value in values.items()}


def _parameters(factory: Callable) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory, eval_str=True).parameters
    except NameError:  # a name that only the type checker imports: the types go unchecked
        return inspect.signature(factory).parameters


def _require(factory: Callable, path: str, given: Mapping, args: tuple, kwargs: Mapping) -> None:
    try:
        inspect.signature(factory).bind(*args, **given, **kwargs)
    except TypeError as error:
        where = path or "arguments"
        raise FsbError(f"{where}: {error} of {factory.__module__}.{factory.__name__}") from None


def resolve(target: Any, modules: Iterable[str] = (), where: str = _TARGET) -> Callable:
    """The function or class called ``target``: one of ``FACTORIES``, or defined in ``modules``.

    Raises:
      FsbError: the name is private, is not one of those, or does not exist.
    """
    parts = target.split(".") if isinstance(target, str) else []
    if len(parts) < 2 or not all(p.isidentifier() and not p.startswith("_") for p in parts):
        raise FsbError(f"{where}: {target} is not a public dotted name, such as fsb.estimators.st")
    home, name = ".".join(parts[:-1]), parts[-1]
    if not _within(home, modules) and home not in FACTORIES and target not in FACTORIES:
        allowed = f"{', '.join(FACTORIES)} and the modules=[...] of the command line"
        raise FsbError(f"{where}: {target} is not allowed, only what is in {allowed}")
    module = imported(home, where)
    public = _public(module, (home, *modules))
    if name not in public:
        raise unknown(where, target, [f"{home}.{key}" for key in public])
    return public[name]


def imported(name: str, where: str) -> ModuleType:
    """The module called ``name``; ``FsbError`` if there is none. What it raises itself is a bug."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not _within(name, (error.name,)):
            raise  # the module is there, and lacks another
        raise FsbError(f"{where}: there is no module {error.name}") from None


def _public(module: ModuleType, owners: Iterable[str]) -> dict[str, Callable]:
    """The factories of a module: those in ``__all__``, else those it does not merely import."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, item in vars(module).items()
            if not name.startswith("_") and _within(getattr(item, "__module__", None), owners)
        ]
    return {name: item for name in names if callable(item := getattr(module, name))}


def _within(name: Any, modules: Iterable[Any]) -> bool:
    return any(f"{name}.".startswith(f"{module}.") for module in modules)


def from_file(text: str, where: str) -> Any:
    """What a Python file of the user's calls by a name: "path/to/file.py:name".

    Raises:
      FsbError: the text is not of this form, there is no such file, or nothing of that name in it.
    """
    path, _, name = text.rpartition(":")
    if not path.endswith(".py") or not name.isidentifier():
        raise FsbError(f"{where}={text}: write it as path/to/file.py:name")
    if not Path(path).is_file():
        raise FsbError(f"{where}={text}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None  # the name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        public = [key for key in vars(module) if not key.startswith("_")]
        raise unknown(where, name, public)
    return getattr(module, name)
