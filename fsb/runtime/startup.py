"""What a program sets before it imports its modules, which takes seconds.

Ctrl-C gives one line and exit code 130. Threads share two heaps: with one each, as is usual, what
the jobs of a sweep free stays in pieces, and the process grows from job to job.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import signal
import sys
from types import FrameType

ARENAS = (-8, 2)  # M_ARENA_MAX of mallopt(3), glibc


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Nothing has been opened yet, and an exception could be lost in an import."""
    os.write(2, b"fsb: interrupted\n")
    os._exit(130)


# sys.argv[0] is "-m" while Python looks for the module to run.
if sys.argv[:1] == ["-m"] and any(re.match(r"(-m)?fsb\.", word) for word in sys.orig_argv):
    signal.signal(signal.SIGINT, end_at_once)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(*ARENAS)
    gc.disable()  # what an import makes stays; looking for garbage in it takes a tenth of a second


def imported() -> None:
    """To be called when a program has imported all it needs: garbage is collected from now on."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
