"""A progress bar for long-running work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yields ``items`` under a progress bar on stderr; silent if stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    quiet = not console.is_terminal
    yield from rich_track(items, description, total, console=console, disable=quiet, transient=True)
