"""Types of settings with their range: what a configuration or a factory may be given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fsb.errors import FsbError, unknown

T = TypeVar("T")


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


def choose(name: str, word: str, options: Mapping[str, T]) -> T:
    """The option that a word names.

    Args:
      name: of the setting, for the error.

    Raises:
      FsbError: if there is no such option.

    >>> choose("shape", "round", {"round": 0, "square": 4})
    0
    >>> choose("shape", "rund", {"round": 0, "square": 4})
    Traceback (most recent call last):
    fsb.errors.FsbError: shape: unknown 'rund'; did you mean round? (choices: round, square)
    """
    if word not in options:
        raise unknown(name, word, options)
    return options[word]
