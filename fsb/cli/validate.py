"""What a configuration may hold: names, types and ranges, and the one line that says otherwise."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import json
import pathlib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from fsb.constraints import Range
from fsb.errors import FsbError, unknown


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# type: (its name in messages, which plain values will do, how they become one)
_PLAIN: dict[Any, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = {
    int: (
        "a whole number (int)",
        lambda v: _number(v) and (isinstance(v, int) or v.is_integer()),
        int,
    ),
    float: ("a number (float)", _number, float),
    bool: ("true or false (bool)", lambda v: isinstance(v, bool), bool),
    str: ("text (str)", lambda v: isinstance(v, str | int) and not isinstance(v, bool), str),
    pathlib.Path: ("a path", lambda v: isinstance(v, str), pathlib.Path),
    dict: ("a group of keys", lambda v: isinstance(v, dict), dict),
    type(None): ("null", lambda v: v is None, lambda v: None),
}
_LISTS = (list, tuple, collections.abc.Sequence)
_UNIONS = (typing.Union, types.UnionType)
_ANYTHING = (Any, object, inspect.Parameter.empty)


def _kind(hint: Any) -> str:
    origin, options = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is Annotated:
        return _kind(options[0])
    if origin in _UNIONS:
        return " or ".join(map(_kind, options))
    if origin in _LISTS:
        return "a list, written [a,b]"
    if origin in _PLAIN:
        return _PLAIN[origin][0]
    return f"{getattr(origin, '__name__', origin)}, made by a _target_"


def _show(value: Any) -> str:
    return (value or "''") if isinstance(value, str) else json.dumps(value, default=repr)


def convert(value: Any, hint: Any, path: str) -> Any:
    """The value of a key as its type annotation asks for it.

    Whole floats become int (``max_steps=1e4``), numbers float, lists tuple where asked. A class
    of another kind refuses plain values, for only a ``_target_`` can make one; annotations that
    say nothing a configuration can hold let everything through.

    Args:
      value: plain data, as YAML gives it, or an object already built.
      hint: a type annotation; ``Range`` in ``Annotated`` is checked.
      path: the full name of the key, for messages.

    Raises:
      FsbError: the value is of another type, or outside its range.

    >>> convert(1e4, int, "max_steps")
    10000
    >>> convert("abc", float, "estimator.delta")
    Traceback (most recent call last):
    fsb.errors.FsbError: estimator.delta: abc is not a number (float)
    """
    if value == "???":
        raise FsbError(f"{path}: is required; give {path}=...")
    if hint in _ANYTHING or isinstance(hint, str):
        return value
    wrong = FsbError(f"{path}: {_show(value)} is not {_kind(hint)}")
    origin, options = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is Annotated:
        value = convert(value, options[0], path)
        for rule in options[1:]:
            if isinstance(rule, Range):
                rule.check(value, path)
        return value
    if origin in _UNIONS:
        return _convert_union(value, options, path, wrong)
    if origin is Literal:
        if value not in options:
            raise unknown(path, value, map(str, options))
        return value
    if origin in _LISTS:
        if not isinstance(value, list | tuple):
            raise wrong
        item = options[0] if options else Any
        items = [convert(entry, item, f"{path}[{i}]") for i, entry in enumerate(value)]
        return tuple(items) if origin is tuple else items
    if dataclasses.is_dataclass(origin) and isinstance(value, dict):
        return check_keys(origin, value, f"{path}.")
    if origin in _PLAIN:
        _, fits, make = _PLAIN[origin]
        if not fits(value):
            raise wrong
        return make(value)
    if isinstance(origin, type) and (value is None or isinstance(value, bool | int | float | str)):
        raise wrong
    return value


def _convert_union(value: Any, options: tuple, path: str, wrong: FsbError) -> Any:
    if value is None and type(None) in options:
        return None
    several = [option for option in options if option is not type(None)]
    for option in several:
        try:
            return convert(value, option, path)
        except FsbError:
            if len(several) == 1 and _number(value):
                raise  # what a range says is worth more than the list of types
    raise wrong


def check_keys(schema: Any, values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """The values of a dataclass's keys, converted; its ``__post_init__`` sees them together.

    Args:
      schema: a dataclass whose fields are the keys; those without a default are required.
      values: what was given.
      path: what stands before a key in messages, such as "distributed.".

    Raises:
      FsbError: a key is unknown or missing, or its value is wrong.
    """
    fields = inspect.signature(schema, eval_str=True).parameters
    for key in values:
        if key not in fields:
            raise unknown(path.rstrip(".") or "settings", key, fields)
    for key, field in fields.items():
        if key not in values and field.default is field.empty:
            raise FsbError(f"{path}{key}: is missing; give {path}{key}=...")
    checked = {
        key: convert(value, fields[key].annotation, path + key) for key, value in values.items()
    }
    schema(**checked)
    return checked
