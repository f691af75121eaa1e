"""Progress of a run: a live bar on a terminal, periodic lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

import jax


class Progress:
    """Shows description, step, steps/s, time left and the latest value of each named field.

    On a terminal it is a live bar; otherwise it prints a line every ``every`` seconds. Only the
    first process shows anything. Use it as a context manager and call ``update`` once per chunk.

    The speed excludes the first chunk, which includes compilation.
    """

    def __init__(
        self,
        description: str,
        max_steps: int,
        start: int = 0,
        every: float = 10.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.description, self.max_steps, self.step = description, max_steps, start
        self._every, self._clock = every, clock
        self._stream = stream if stream is not None else sys.stderr
        self._fields: dict[str, Any] = {}
        self._first: tuple[int, float] | None = None
        self._now = self._shown = clock()
        self._shown_step: int | None = None
        self._silent = jax.process_index() != 0
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if not self._silent and self._stream.isatty():
            self._bar, self._task = _bar(self._stream, self.description, self.max_steps, self.step)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif not self._silent and self._shown_step != self.step:
            self._print()

    def update(self, step: int, **fields: Any) -> None:
        """Reports that ``step`` steps are done; a field keeps its value until it is given again."""
        self.step, self._now = int(step), self._clock()
        if self._first is None:
            self._first = (self.step, self._now)
        self._show(fields)

    def note(self, **fields: Any) -> None:
        """Shows what is done between two steps, such as an evaluation; None takes a field away."""
        self._now = self._clock()
        self._show(fields)

    def _show(self, fields: dict[str, Any]) -> None:
        self._fields = {k: v for k, v in (self._fields | fields).items() if v is not None}
        if self._bar is not None:
            self._bar.update(self._task, completed=self.step, numbers=self._numbers())
        elif not self._silent and (
            self._shown_step is None or self._now - self._shown >= self._every
        ):
            self._print()

    @property
    def steps_per_second(self) -> float | None:
        """Mean speed since the end of the first chunk; None until the second one ends."""
        if self._first is None or self.step <= self._first[0] or self._now <= self._first[1]:
            return None
        return (self.step - self._first[0]) / (self._now - self._first[1])

    def _numbers(self) -> str:
        speed = self.steps_per_second
        left = "?" if speed is None else _duration((self.max_steps - self.step) / speed)
        rate = "? steps/s" if speed is None else f"{speed:.4g} steps/s"
        fields = [f"{name} {_number(value)}" for name, value in self._fields.items()]
        return " | ".join([rate, f"{left} left", *fields])

    def _print(self) -> None:
        self._shown, self._shown_step = self._now, self.step
        place = f"step {self.step}/{self.max_steps}"
        # In one piece: another thread may end the process with a line of its own.
        self._stream.write(f"{self.description} | {place} | {self._numbers()}\n")
        self._stream.flush()


def _bar(stream: TextIO, description: str, max_steps: int, start: int) -> tuple[Any, Any]:
    from rich import progress
    from rich.console import Console
    from rich.table import Column

    whole = Column(no_wrap=True)
    rest = Column(no_wrap=True, ratio=1, overflow="ellipsis")  # only this column shrinks
    bar = progress.Progress(
        progress.TextColumn("{task.description}", markup=False, table_column=whole),
        progress.BarColumn(bar_width=10, table_column=Column(min_width=10)),
        progress.TextColumn("{task.completed}/{task.total}", table_column=whole.copy()),
        progress.TextColumn("{task.fields[numbers]}", markup=False, table_column=rest),
        console=Console(file=stream),
        expand=True,
    )
    return bar, bar.add_task(description, total=max_steps, completed=start, numbers="compiling")


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _number(value: Any) -> str:
    return value if isinstance(value, str) else f"{float(value):.5g}"
