"""The user's own code: modules named on the command line, and objects in Python files."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from fsb.errors import FsbError, unknown


def imported(name: str, where: str) -> ModuleType:
    """Imports the module called ``name``; its own exceptions are not caught.

    Raises:
      FsbError: if the name is not one of a module, there is none, or it has a syntax error.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise FsbError(f"{where}: {name!r} is not the name of a module")
    try:
        with _readable(where):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not within(name, (error.name,)):
            raise  # the module is there, and lacks another
        raise FsbError(
            f"{where}: there is no module {error.name} in this folder or on PYTHONPATH"
        ) from None


def public(module: ModuleType, owners: Iterable[str]) -> dict[str, Callable]:
    """The factories of a module: those in ``__all__``, otherwise those that it defines itself."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, item in vars(module).items()
            if not name.startswith("_") and within(getattr(item, "__module__", None), owners)
        ]
    return {name: item for name in names if callable(item := getattr(module, name))}


def within(name: Any, modules: Iterable[Any]) -> bool:
    """Whether a dotted name is one of the modules, or belongs to one."""
    return any(f"{name}.".startswith(f"{module}.") for module in modules)


def from_file(text: str, where: str) -> Any:
    """The object ``name`` in a Python file, written as "path/to/file.py:name".

    Raises:
      FsbError: if there is no such file, it has a syntax error, or there is no such name in it.
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
    with _readable(where):
        spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise unknown(where, name, _own(module))
    return getattr(module, name)


def _own(module: ModuleType) -> list[str]:
    """The names that a file defines itself, not those that it imports."""
    return [
        name
        for name, item in vars(module).items()
        if not name.startswith("_")
        and not isinstance(item, ModuleType)
        and (not callable(item) or getattr(item, "__module__", "") == module.__name__)
    ]


@contextlib.contextmanager
def _readable(where: str) -> Iterator[None]:
    try:
        yield
    except SyntaxError as error:
        raise FsbError(f"{where}: {error.filename}, line {error.lineno}: {error.msg}") from None
