"""Ctrl-C and SIGTERM as a request: finish the chunk, save, and leave."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from fsb.runtime.devices import largest


class Interrupt:
    """The signal that requested a stop; 0 if there was none."""

    signal: int = 0

    def agreed(self) -> int:
        """The largest signal of all processes, so that they stop together; each must call it."""
        return largest(self.signal)


@contextlib.contextmanager
def interrupts() -> Iterator[Interrupt]:
    """Notes SIGINT and SIGTERM instead of obeying; a second one is obeyed at once.

    >>> import os, signal
    >>> with interrupts() as asked:
    ...     os.kill(os.getpid(), signal.SIGTERM)
    ...     asked.signal
    15
    """
    asked = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may set handlers
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: object) -> None:
        asked.signal = number
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        restore()
