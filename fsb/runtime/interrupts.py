"""Graceful handling of Ctrl-C and SIGTERM: finish the chunk, save and exit."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


class Interrupt:
    """The signal that requested a stop; 0 if there was none."""

    signal: int = 0


@contextlib.contextmanager
def interrupts() -> Iterator[Interrupt]:
    """Records SIGINT and SIGTERM instead of acting on them; a second signal takes effect at once.

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
