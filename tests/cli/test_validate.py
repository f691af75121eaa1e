import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional

import pytest

from fsb.cli.validate import check_keys, convert
from fsb.constraints import Count, Range
from fsb.errors import FsbError, unknown
from fsb.types import Estimator


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
        (0.5, Annotated[float, Range(0, 1)], 0.5),
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
        ("3", int, "key: 3 is not a whole number (int)"),
        (1.5, int, "key: 1.5 is not a whole number (int)"),
        (True, int, "key: true is not a whole number (int)"),
        (float("inf"), int, "key: Infinity is not a whole number (int)"),
        (False, float, "key: false is not a number (float)"),
        ("", float, "key: '' is not a number (float)"),
        (1, bool, "key: 1 is not true or false (bool)"),
        (None, str, "key: null is not text (str)"),
        (True, str, "key: true is not text (str)"),
        ("x", int | None, "key: x is not a whole number (int) or null"),
        ("c", Literal["aa", "bb"], "key: unknown 'c' (choices: aa, bb)"),
        (3, list[int], "key: 3 is not a list, written [a,b]"),
        ("ab", Sequence[str], "key: ab is not a list, written [a,b]"),
        ([1, "x"], list[int], "key[1]: x is not a whole number (int)"),
        ([1], dict, "key: [1] is not a group of keys"),
        (0, Count, "key: must be at least 1, got 0"),
        (0, Count | None, "key: must be at least 1, got 0"),
        (2.0, Annotated[float, Range(0, 1)], "key: must be at least 0 and at most 1, got 2.0"),
        (float("nan"), Annotated[float, Range(0)], "key: must be at least 0, got nan"),
        (3, Estimator, "key: 3 is not Estimator, made by a _target_"),
        ("f", Callable[[int], int], "key: f is not Callable, made by a _target_"),
        ("???", int, "key: is required; give key=..."),
    ],
)
def test_refuses(value, hint, says):
    with pytest.raises(FsbError) as caught:
        convert(value, hint, "key")
    assert str(caught.value) == says


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
    assert check_keys(Outer, {"name": 1, "inner": {"low": 2.0}}) == {
        "name": "1",
        "inner": {"low": 2},
    }
    for values, says in [
        ({"name": "a", "inner": {"lwo": 1}}, "inner: unknown 'lwo'; did you mean low?"),
        ({"name": "a", "inner": {"high": 1}}, "inner.low: is missing; give inner.low=..."),
        ({"name": "a", "inner": {"low": 4}}, "inner.low: is above inner.high"),
        ({"name": "a", "inner": 3}, "inner: 3 is not Inner"),
        ({"nmae": "a", "inner": {"low": 1}}, "settings: unknown 'nmae'; did you mean name?"),
        ({"name": "a"}, "inner: is missing"),
    ]:
        with pytest.raises(FsbError) as caught:
            check_keys(Outer, values)
        assert str(caught.value).startswith(says)


def test_unknown_says_so_when_nothing_is_near():
    assert str(unknown("key", "qqq", ["abc"])) == "key: unknown 'qqq' (choices: abc)"
    assert str(unknown("key", 3, [])) == "key: unknown 3 (choices: none)"
