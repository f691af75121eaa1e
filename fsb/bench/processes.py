"""Commands in processes of their own: how long they take and how much memory."""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fsb.cli.program import preflight
from fsb.cli.schema import Train
from fsb.errors import FsbError

TRAIN = (sys.executable, "-m", "fsb.train")

# A small process measures, as the peak of a child begins with the memory of the one that forks it.
WATCH = """
import resource, subprocess, sys, time
begun = time.monotonic()
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
seconds = time.monotonic() - begun
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(seconds, peak * (1 if sys.platform == "darwin" else 1024))
sys.exit(code)
"""


class Ended(NamedTuple):
    """seconds: from start to end; peak: the most resident bytes."""

    seconds: float
    peak: int


def watch(*command: str) -> Ended:
    """Runs a command to its end.

    Raises:
      FsbError: if it fails, with the last line that it wrote on stderr.

    >>> watch(sys.executable, "-c", "import time; time.sleep(0.1)").seconds > 0.1
    True
    """
    watching = [sys.executable, "-S", "-c", WATCH, *command]
    done = subprocess.run(watching, capture_output=True, text=True)
    if done.returncode:
        raise failed(command, done.stderr)
    seconds, peak = done.stdout.split()
    return Ended(float(seconds), int(peak))


def failed(command: tuple[str, ...], told: str) -> FsbError:
    lines = told.strip().splitlines() or ["no reason given"]
    return FsbError(f"{' '.join(command)}: {lines[-1]}")


def training(overrides: list[str]) -> DictConfig:
    """The checked configuration of ``python -m fsb.train`` with these overrides.

    Raises:
      FsbError: if they are wrong, or describe more than one run.
    """
    ours = HydraConfig.instance().cfg
    try:
        jobs = preflight("train", overrides, Train)
    finally:
        HydraConfig.instance().cfg = ours
    if len(jobs) > 1 or jobs[0].members is not None:
        raise FsbError("overrides: they must describe one run")
    return jobs[0]
