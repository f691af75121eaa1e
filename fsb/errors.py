"""The errors that users see, and their wording."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class FsbError(ValueError):
    """A mistake that the user can mend. Its message is one line: what is wrong, what is allowed."""

    exit_code = 2


class Diverged(FsbError):
    """A training run whose loss is not finite, or has grown beyond all measure."""

    exit_code = 3


def nearest(word: Any, names: Iterable[str], cutoff: float = 0.5) -> str:
    """The suggestion "; did you mean ...?" for the name nearest to a word; "" if none is near.

    >>> nearest("fosut", ["st", "foust"])
    '; did you mean foust?'
    """
    near = difflib.get_close_matches(str(word), sorted(names), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""


def unknown(where: str, word: Any, choices: Iterable[str]) -> FsbError:
    """The error for a word that is not among the choices; it names the nearest and all of them.

    >>> unknown("estimator", "fosut", ["st", "foust"])
    FsbError("estimator: unknown 'fosut'; did you mean foust? (choices: foust, st)")
    """
    names = sorted(set(choices))
    listed = ", ".join(names) or "none"
    return FsbError(f"{where}: unknown {word!r}{nearest(word, names)} (choices: {listed})")


def first_line(error: BaseException) -> str:
    """The first non-empty line of an error's message, or the name of its type.

    >>> first_line(OSError("\\nNo space left on device\\n(more)"))
    'No space left on device'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
