"""Keeps what Orbax, TensorStore and asyncio print of a failed save or restore off the terminal."""

from __future__ import annotations

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
    sys.unraisablehook = _quieter(sys.unraisablehook, lambda report: report.exc_value)
    # The hook that TensorStore's own threads call.
    sys.excepthook = _quieter(sys.excepthook, lambda kind, error, trace: error)


def _quieter(hook: Callable, error_of: Callable[..., Any]) -> Callable:
    """The hook without reports of a closed loop; itself if it is one already."""
    if getattr(hook, "__name__", "") == "without_closed_loops":
        return hook

    def without_closed_loops(*report: Any) -> None:
        if str(error_of(*report)) != "Event loop is closed":
            hook(*report)

    return without_closed_loops


def _not_a_late_exception(record: logging.LogRecord) -> bool:
    return "exception was never retrieved" not in record.getMessage()
