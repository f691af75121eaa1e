import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional

import numpy as np
import pytest
from annotated_types import Ge, Le

from fsb.cli.validate import check_keys, convert
from fsb.constraints import Count, Seed
from fsb.errors import FsbError, unknown
from fsb.types import Estimator

UNIT = Annotated[float, Ge(0), Le(1)]


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, int, 3),
        (1e4, int, 10000),
        (1, float, 1.0),
        (True, bool, True),
        ("x", str, "x"),
        (7, str, "7"),
        ("a/b", pathlib.Path, pathlib.Path("a/b")),
        (None, int | None, None),
        (None, Optional[int], None),  # noqa: UP045
        (2.5, int | float, 2.5),
        ("b", Literal["a", "b"], "b"),
        ([1, 2], list[float], [1.0, 2.0]),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1], Sequence[int], [1]),
        ([], list, []),
        ({"a": 1}, dict, {"a": 1}),
        (0.5, UNIT, 0.5),
        (float("inf"), float, float("inf")),
        (2, int | float, 2),
        (["a"], Collection[str], ["a"]),
        ({"a": 1.0}, Mapping[str, int], {"a": 1}),
        ("anything", Any, "anything"),
        ("anything", "NotEvaluated", "anything"),
    ],
)
def test_converts(value, hint, expected):
    result = convert(value, hint, "key")
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "says"),
    [
        ("3", int, 'must be a valid integer, got "3"'),
        (1.5, int, "must be a valid integer, got 1.5"),
        (True, int, "must be a valid integer, got true"),
        (float("inf"), int, "must be a finite number, got Infinity"),
        (float("nan"), int, "must be a valid integer, got NaN"),
        (False, float, "must be a valid number, got false"),
        ("", float, 'must be a valid number, got ""'),
        (float("nan"), float, "must be a valid number, got NaN"),
        (float("nan"), float | None, "must be a valid number, got NaN"),
        (1, bool, "must be a valid boolean, got 1"),
        ("yes", bool, 'must be a valid boolean, got "yes"'),
        (None, str, "must be a valid string, got null"),
        (True, str, "must be a valid string, got true"),
        ("x", int | None, 'must be a valid integer, got "x"'),
        ("x", float | Literal["auto"], "must be a valid number or 'auto', got \"x\""),
        (0, Count | Literal["all"], "must be at least 1 or 'all', got 0"),
        ("c", Literal["aa", "bb"], "must be 'aa' or 'bb', got \"c\""),
        ("ab", Literal["aa", "xx"], "must be 'aa' or 'xx', got \"ab\"; did you mean aa?"),
        (3, list[int], "must be a valid list, got 3"),
        ("ab", Sequence[str], 'must be a valid list, got "ab"'),
        ("ab", Collection[str], 'must be a valid list, got "ab"'),
        ([1], dict, "must be a valid dictionary, got [1]"),
        (0, Count, "must be at least 1, got 0"),
        (0, Count | None, "must be at least 1, got 0"),
        (2**32, Seed, "must be at most 4294967295, got 4294967296"),
        (2.0, UNIT, "must be at most 1, got 2.0"),
        (float("nan"), UNIT, "must be a valid number, got NaN"),
        (3, Estimator, "must be Estimator from a _target_, got 3"),
        ([1, 2], Estimator, "must be Estimator from a _target_, got [1, 2]"),
        ({"init": 1}, Estimator, 'must be Estimator from a _target_, got {"init": 1}'),
        (None, Estimator, "must be Estimator from a _target_, got null"),
        ("f", Callable[[int], int], 'must be Callable from a _target_, got "f"'),
        (object(), int, 'must be a valid integer, got "an object"'),
        ("???", int, "is required; give key=..."),
    ],
)
def test_refuses(value, hint, says):
    with pytest.raises(FsbError) as caught:
        convert(value, hint, "key")
    assert str(caught.value) == f"key: {says}"


@pytest.mark.parametrize(
    ("value", "hint", "says"),
    [
        ([1, "x"], list[int], 'key[1]: must be a valid integer, got "x"'),
        ([1, 0], tuple[Count, ...], "key[1]: must be at least 1, got 0"),
        ([[1], [2.5]], list[list[int]] | None, "key[1][0]: must be a valid integer, got 2.5"),
        ({"a": 3}, Mapping[str, Estimator], "key.a: must be Estimator from a _target_, got 3"),
    ],
)
def test_names_the_place_inside_a_value(value, hint, says):
    with pytest.raises(FsbError) as caught:
        convert(value, hint, "key")
    assert str(caught.value) == says


def test_objects_pass_through():
    made = np.arange(3)  # whose comparisons are no truth values
    assert convert(made, Estimator, "key") is made
    assert convert({"a": made}, Mapping[str, Estimator], "key")["a"] is made


@dataclass
class Inner:
    low: int
    high: int = 3

    def __post_init__(self):
        if self.low > self.high:
            raise FsbError("inner.low: is above inner.high")


@dataclass
class Outer:
    name: str
    inner: Inner


def test_keys_are_checked_through_groups():
    assert check_keys(Outer, {"name": 1, "inner": {"low": 2.0}}) == Outer("1", Inner(2))
    for values, says in [
        ({"name": "a", "inner": {"lwo": 1}}, "inner: unknown 'lwo'; did you mean low?"),
        ({"name": "a", "inner": {"high": 1}}, "inner.low: is missing; give inner.low=..."),
        ({"name": "a", "inner": {"low": 4}}, "inner.low: is above inner.high"),
        ({"name": "a", "inner": 3}, "inner: must be Inner from a _target_, got 3"),
        ({"nmae": "a", "inner": {"low": 1}}, "settings: unknown 'nmae'; did you mean name?"),
        ({"name": "a"}, "inner: is missing"),
    ]:
        with pytest.raises(FsbError) as caught:
            check_keys(Outer, values)
        assert str(caught.value).startswith(says)


def test_unknown_says_so_when_nothing_is_near():
    assert str(unknown("key", "qqq", ["abc"])) == "key: unknown 'qqq' (choices: abc)"
    assert str(unknown("key", 3, [])) == "key: unknown 3 (choices: none)"
