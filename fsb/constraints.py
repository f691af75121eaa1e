"""Types of settings with their ranges, and choices among named options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

from annotated_types import Ge, Le

from fsb.errors import unknown

T = TypeVar("T")


Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]


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
