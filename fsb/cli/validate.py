"""Checks of a configuration: pydantic checks types and ranges, this module checks names.

Names are not left to a pydantic model, because it does not suggest the nearest one and cannot have
fields called ``copy`` or ``json``.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import pathlib
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union

from pydantic import BeforeValidator, ConfigDict, Strict, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError, PydanticKnownError

from fsb.errors import FsbError, nearest, unknown


def _number(kind: Literal["int_type", "float_type"]) -> BeforeValidator:
    """Refuses NaN, and text and truth values, which pydantic would read as numbers."""

    def check(value: Any) -> Any:
        if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
            raise PydanticKnownError(kind)
        return value

    return BeforeValidator(check)


UNBUILT = object()
"""Stands for an object that is not built yet, and fits every annotation."""

_RULES: dict[Any, Any] = {
    int: Annotated[int, _number("int_type")],
    float: Annotated[float, _number("float_type")],
    bool: Annotated[bool, Strict()],
    **{kind: kind for kind in (str, pathlib.Path, types.NoneType)},
}
_GROUPS: dict[Any, Any] = {Union: Union, types.UnionType: Union, list: list, tuple: tuple}
_GROUPS |= {dict: dict, Mapping: dict, Sequence: list, Collection: list, Iterable: list}


def _strict(hint: Any) -> Any:
    """The annotation for pydantic; Any if a configuration cannot hold such a value."""
    origin, options = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is Annotated:
        return Annotated[(_strict(options[0]), *options[1:])]
    if origin is Literal:
        return hint
    if origin in _RULES:
        return _RULES[origin]
    if origin in _GROUPS:
        inner = tuple(option if option is ... else _strict(option) for option in options)
        return _GROUPS[origin][inner] if inner else _GROUPS[origin]
    if not isinstance(origin, type) or origin in (Any, object, inspect.Parameter.empty):
        return Any

    def made(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str | list | dict):
            raise PydanticCustomError("made", f"Input should be {origin.__name__} from a _target_")
        return value

    return Annotated[Any, BeforeValidator(made)]


def convert(value: Any, hint: Any, path: str) -> Any:
    """Converts the value of a key to its type annotation.

    Whole floats become int (``max_steps=1e4``), numbers float, and lists tuple where needed. A
    class accepts only objects that were built from a ``_target_``.

    Raises:
      FsbError: if the value is of another type, or outside the range in ``Annotated``.

    >>> convert(1e4, int, "max_steps")
    10000
    >>> convert("abc", float, "estimator.delta")
    Traceback (most recent call last):
    fsb.errors.FsbError: estimator.delta: must be a valid number, got "abc"
    """
    if value is UNBUILT:
        return value
    if isinstance(value, str) and value == "???":
        raise FsbError(f"{path}: is required; give {path}=...")
    try:
        adapter = TypeAdapter(_strict(hint), config=ConfigDict(coerce_numbers_to_str=True))
        return adapter.validate_python(value)
    except ValidationError as error:
        first, *others = error.errors()
    # Pydantic's locations contain the branches of a union, such as "list[int]".
    place = [part for part in first["loc"] if isinstance(part, int) or "[" not in part]
    where = path + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    wrong = first["input"]
    said = [e["msg"] for e in (first, *others) if e["input"] is wrong]
    must = " or ".join(dict.fromkeys(re.sub(", (got|unable).*", "", line) for line in said))
    must = must.replace("Input should be", "must be", 1).replace("Input should be ", "")
    must = must.replace("greater than or equal to", "at least")
    must = must.replace("less than or equal to", "at most")
    near = nearest(wrong, re.findall("'(.*?)'", must))
    got = json.dumps(wrong, default=lambda _: "an object", ensure_ascii=False)
    raise FsbError(f"{where}: {must}, got {got}{near}")


def arguments(
    function: Callable, values: Mapping, path: str = "", given: Collection[str] = ()
) -> dict[str, Any]:
    """Converts some of a function's arguments to its annotations.

    Args:
      function: any callable.
      values: the arguments by name.
      path: the full name of the function's node, for errors.
      given: the names of the arguments that the program itself passes.

    Raises:
      FsbError: if a name is unknown or given twice, or a value is wrong.
    """
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
    except NameError:  # a name that only type checkers import: its types are not checked
        parameters = inspect.signature(function).parameters
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    hints = {key: p.annotation for key, p in parameters.items() if p.kind in kinds}
    free = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    dot = f"{path}." if path else ""
    for key in values:
        if not isinstance(key, str) or key.startswith("_"):
            raise FsbError(f"{dot}{key}: only _target_ and arguments may stand here")
        if key in given:
            raise FsbError(f"{dot}{key}: is given by the program, not by the configuration")
        if key not in hints and not free:
            raise unknown(path or "settings", key, hints.keys() - given)
    return {key: convert(v, hints.get(key, Any), f"{dot}{key}") for key, v in values.items()}


def check_keys(schema: Any, values: Mapping[str, Any], path: str = "") -> Any:
    """Makes the dataclass ``schema`` of the values; its ``__post_init__`` checks combinations.

    Raises:
      FsbError: if a key is unknown or missing, or its value is wrong.
    """
    dot = f"{path}." if path else ""
    fields = inspect.signature(schema, eval_str=True).parameters
    built = dict(values)
    for key in values.keys() & fields.keys():
        if dataclasses.is_dataclass(fields[key].annotation) and isinstance(values[key], dict):
            built[key] = check_keys(fields[key].annotation, values[key], f"{dot}{key}")
    checked = arguments(schema, built, path)
    for key, field in fields.items():
        if key not in values and field.default is field.empty:
            raise FsbError(f"{dot}{key}: is missing; give {dot}{key}=...")
    return schema(**checked)
