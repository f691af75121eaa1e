"""Signals: Ctrl-C in a program, and a request to finish the chunk of steps, save, and leave."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from fsb.runtime.processes import largest

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
    if hasattr(signal, name)
)


class Interrupt:
    """The signal that requested a stop; 0 if there was none."""

    def __init__(self) -> None:
        self.signal = 0
        self._saving = False
        self._pending = 0
        self._before = {number: signal.getsignal(number) for number in SIGNALS}

    def agreed(self) -> int:
        """The largest signal of all processes, so that they stop together; each must call it."""
        return largest(self.signal)

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Holds all further signals back until the end of the block."""
        self._saving = True
        try:
            yield
        finally:
            self._saving = False
            if self._pending:
                self._obey(self._pending)

    def _note(self, number: int, frame: object) -> None:
        if not self.signal:
            self.signal = number
        elif self._saving:
            self._pending = number
        else:
            self._obey(number)

    def _obey(self, number: int) -> None:
        self._restore()
        os.kill(os.getpid(), number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interrupts() -> Iterator[Interrupt]:
    """Notes a signal to stop instead of obeying it; a second one is obeyed.

    >>> import os, signal
    >>> with interrupts() as asked:
    ...     os.kill(os.getpid(), signal.SIGTERM)
    ...     asked.signal
    15
    """
    raise_lost()
    asked = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may set handlers
        return
    for number in SIGNALS:
        signal.signal(number, asked._note)
    try:
        yield asked
    finally:
        asked._restore()


_ctrl_c: list[int] = []  # those that came while ``keyboard`` was open


@contextlib.contextmanager
def keyboard() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, and ``raise_lost`` raises one that was lost.

    Python drops an exception in a callback, such as JAX's at each garbage collection, with a
    traceback on stderr.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _ctrl_c.clear()
    before, hook = signal.signal(signal.SIGINT, _raise), sys.unraisablehook

    def without_ctrl_c(report: Any) -> None:
        if not issubclass(report.exc_type, KeyboardInterrupt):
            hook(report)

    sys.unraisablehook = without_ctrl_c
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        sys.unraisablehook = hook


def raise_lost() -> None:
    """Raises KeyboardInterrupt if there was one since ``keyboard`` was opened."""
    if _ctrl_c:
        raise KeyboardInterrupt


def _raise(number: int, frame: object) -> None:
    _ctrl_c.append(number)
    raise KeyboardInterrupt
