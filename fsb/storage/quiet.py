"""Keeps what Orbax, TensorStore and asyncio print of a failed save or restore off the terminal."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable
from typing import Any


def quiet_orbax() -> None:
    """Drops their reports of a failure, hundreds of lines; the exception itself is still raised.

    TensorStore goes on reading or writing when Orbax has given up, and reports that the event loop
    is closed; asyncio reports the exception once more when the program ends.
    """
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # a save would also log 20 lines
    logging.getLogger("asyncio").addFilter(_not_a_late_exception)
    sys.unraisablehook = _quieter(sys.unraisablehook, _of_a_coroutine)
    # The hook that TensorStore's own threads call.
    sys.excepthook = _quieter(sys.excepthook, lambda kind, error, trace: _closed_loop(error))


def _quieter(hook: Callable, dropped: Callable[..., bool]) -> Callable:
    """The hook without the reports that are dropped; itself if it is such a hook already."""
    if getattr(hook, "__name__", "") == "without_late_reports":
        return hook

    def without_late_reports(*report: Any) -> None:
        if not dropped(*report):
            hook(*report)

    return without_late_reports


def _of_a_coroutine(report: Any) -> bool:
    """Orbax's coroutines that were given up; no other part of a program has any."""
    return inspect.iscoroutine(report.object) or _closed_loop(report.exc_value)


def _closed_loop(error: BaseException | None) -> bool:
    return str(error) == "Event loop is closed"


def _not_a_late_exception(record: logging.LogRecord) -> bool:
    return "exception was never retrieved" not in record.getMessage()
