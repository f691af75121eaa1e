"""A progress bar for work that takes longer than a moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield ``items`` under a bar on stderr; in silence where stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    quiet = not console.is_terminal
    yield from rich_track(items, description, total, console=console, disable=quiet, transient=True)
