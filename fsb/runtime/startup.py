"""Ctrl-C while a program imports its modules, which takes seconds: one line, exit code 130."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from types import FrameType


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Nothing has been opened yet, and an exception could be lost in an import."""
    os.write(2, b"fsb: interrupted\n")
    os._exit(130)


# sys.argv[0] is "-m" while Python looks for the module to run.
if sys.argv[:1] == ["-m"] and any(re.match(r"(-m)?fsb\.", word) for word in sys.orig_argv):
    signal.signal(signal.SIGINT, end_at_once)
    gc.disable()  # what an import makes stays; looking for garbage in it takes a tenth of a second


def imported() -> None:
    """To be called when a program has imported all it needs: garbage is collected from now on."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
