"""What a configuration may hold: names, types and ranges, and the one line that says otherwise."""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import inspect
import json
import math
import pathlib
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fsb.types import FsbError


def unknown(where: str, word: Any, choices: Iterable[str]) -> FsbError:
    """The error for a word that is none of the choices: names the nearest and all of them.

    >>> unknown("estimator", "fosut", ["st", "foust"])
    FsbError("estimator: unknown 'fosut'; did you mean foust? (choices: foust, st)")
    """
    names = sorted(set(choices))
    near = difflib.get_close_matches(str(word), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return FsbError(f"{where}: unknown {word!r}{hint} (choices: {', '.join(names) or 'none'})")


@dataclass(frozen=True)
class Range:
    """An annotation: the value lies in [low, high], both included."""

    low: float
    high: float = math.inf

    def check(self, value: float, path: str) -> None:
        if not self.low <= value <= self.high:
            top = "" if self.high == math.inf else f" and at most {self.high}"
            raise FsbError(f"{path}: must be at least {self.low}{top}, got {value}")


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Seed = Annotated[int, Range(0, 2**32 - 1)]


@dataclass(frozen=True)
class Distributed:
    """The processes of one run, as ``jax.distributed.initialize`` takes them."""

    coordinator: str | None
    num_processes: Count
    process_id: Natural

    def __post_init__(self) -> None:
        if self.process_id >= self.num_processes:
            raise FsbError(
                f"distributed.process_id: must be below num_processes={self.num_processes}, "
                f"got {self.process_id}"
            )
        if self.num_processes > 1 and self.coordinator is None:
            raise FsbError("distributed.coordinator: several processes need one, as host:port")
        if self.coordinator is not None and not re.fullmatch(r".+:\d+", self.coordinator):
            raise FsbError(f"distributed.coordinator: {self.coordinator} is not host:port")


@dataclass(frozen=True)
class Train:
    """The keys of configs/train.yaml, where each is explained; groups are checked as factories."""

    data: dict
    model: dict
    estimator: dict
    objective: dict
    optimizer: dict
    logger: dict
    seed: Seed
    max_steps: Count
    batch_size: Count
    steps_per_call: Count
    eval_every: Count
    eval_examples: Count
    bound_samples: list[Count]
    checkpoint_every: Count
    keep_last: Count
    keep_best: Natural
    resume: str | None
    devices: Count | None
    distributed: Distributed
    compilation_cache: str | None
    modules: list[str]
    # Older runs do not have these.
    control_optimizer: dict | None = None
    likelihood: str | None = None
    eval_batch_size: Count = 512


@dataclass(frozen=True)
class Evaluate:
    """The keys of configs/evaluate.yaml, where each is explained."""

    run: str
    checkpoint: Literal["last", "best"]
    split: Literal["test", "valid", "train"]
    data_root: str | None
    batch_size: Count
    bound_samples: list[Count]
    seed: Seed
    devices: Count | None
    compilation_cache: str | None
    modules: list[str]


@dataclass(frozen=True)
class Lab:
    """The keys of configs/lab.yaml, where each is explained."""

    problem: dict
    estimators: Any
    leave_out: list[str]
    batches: Annotated[int, Range(3)]
    draws: Count
    chunk_size: Count
    fit_steps: Natural
    fit_learning_rate: float
    max_states: Natural
    reference: str
    seed: Seed
    compilation_cache: str | None
    modules: list[str]


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
    fsb.types.FsbError: estimator.delta: abc is not a number (float)
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
