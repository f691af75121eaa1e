"""Keeps what Orbax, TensorStore and asyncio print of a failed save or restore off the terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any


def quiet_orbax() -> None:
    """Drops their reports of a failure, hundreds of lines; the exception itself is still raised.

    TensorStore goes on reading or writing when Orbax has given up, and reports that the event loop
    is closed; asyncio reports the exception once more when the program ends.
    """
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # a save would also log 20 lines
    logging.getLogger("asyncio").addFilter(_not_a_late_exception)
    before = sys.unraisablehook
    if getattr(before, "__name__", "") == "without_closed_loops":
        return

    def without_closed_loops(report: Any) -> None:
        if str(report.exc_value) != "Event loop is closed":
            before(report)

    sys.unraisablehook = without_closed_loops
    usual = sys.excepthook  # which TensorStore's own threads call

    def without_closed_loop(kind: Any, error: Any, trace: Any) -> None:
        if str(error) != "Event loop is closed":
            usual(kind, error, trace)

    sys.excepthook = without_closed_loop


def _not_a_late_exception(record: logging.LogRecord) -> bool:
    return "exception was never retrieved" not in record.getMessage()
