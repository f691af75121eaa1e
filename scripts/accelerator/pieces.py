"""Trainings in pieces of seconds, each of which goes on where the one before stopped."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsb.train
from accelerator.plan import Training
from fsb.errors import FsbError
from fsb.storage.metrics_file import MetricsFile
from fsb.storage.run_folder import read_summary

TIME_IS_OVER = 128 + signal.SIGQUIT
SHORT = "steps_per_call=2 eval_every=4 checkpoint_every=4 eval_examples=8 bound_samples=[]"
SHOWN = ("train_elbo", "valid_elbo", "test_elbo", "steps_per_second", "wall_seconds")


def words(item: Training, folder: Path, miniature: bool = False) -> list[str]:
    """What ``fsb.train`` is given to begin the run, or to go on with it."""
    if (folder / "config.yaml").exists():
        return [f"resume={folder}"]
    given = [*item.words, f"data={item.data}", f"max_steps={item.steps}", "devices=1"]
    if miniature:
        changes = [*item.small.split(), *SHORT.split(), "max_steps=4"]
        keys = {change.partition("=")[0] for change in changes}
        given = [word for word in given if word.partition("=")[0] not in keys] + changes
    return [*given, f"hydra.run.dir={folder}"]


def command(item: Training, folder: Path) -> str:
    return "python -m fsb.train " + shlex.join(words(item, folder))


def train(item: Training, folder: Path, seconds: float, compiled: str, miniature: bool) -> None:
    """Trains for so many seconds, or to the end.

    Raises:
      FsbError: if it ended otherwise; with its message.
      SystemExit: if another signal ended it; it has been saved.
    """
    given = [*words(item, folder, miniature), f"compilation_cache={compiled}"]
    said = sys.stderr = Listening(sys.stderr)
    try:
        with sigquit_after(seconds):
            fsb.train.main(given)
    except SystemExit as end:
        if end.code in (2, 3):
            raise FsbError(said.error) from None
        if end.code != TIME_IS_OVER:
            raise
    finally:
        sys.stderr = said.stream


def run_program(root: Path, line: str) -> None:
    """Runs a program of an experiment in a process of its own.

    Raises:
      FsbError: if it failed, with its last line.
    """
    # This process holds most of the device's memory.
    environment = os.environ | {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.1"}
    given = [sys.executable, *line.split()]
    done = subprocess.run(given, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise FsbError((done.stderr.splitlines() or [f"ended with {done.returncode}"])[-1])


@contextlib.contextmanager
def sigquit_after(seconds: float) -> Iterator[None]:
    """Ends what runs inside when the seconds are over; a training saves first."""
    end = lambda: os.kill(os.getpid(), signal.SIGQUIT)
    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], None]]:
    """Signals end the program.

    Yields:
      A function that raises SystemExit if there was one to do so, even if a training took it for
      its own, in its last steps.
    """

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    def obey() -> None:
        with contextlib.suppress(BlockingIOError):
            for number in set(read.recv(4096)) - {signal.SIGQUIT}:
                stop(number, None)

    ends = signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT
    before = {number: signal.signal(number, stop) for number in ends}
    read, write = socket.socketpair()
    read.setblocking(False)
    write.setblocking(False)
    signal.set_wakeup_fd(write.fileno())
    try:
        yield obey
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)


class Listening:
    """A stream that remembers the line in which a program of fsb said what was wrong."""

    def __init__(self, stream: Any):
        self.stream, self.error = stream, ""

    def write(self, text: str) -> int:
        if text.startswith("fsb: error: "):
            self.error = text.removeprefix("fsb: error: ").strip()
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def runs(folder: Path) -> list[Path]:
    """The run in the folder, or those of the members of a sweep."""
    found = sorted(path.parent for path in folder.glob("*/metrics.csv"))
    return [run for run in found if run.name != "best"] or [folder]


def step(folder: Path) -> int:
    """The step of the newest checkpoint."""
    found = [path.name for run in runs(folder) for path in run.glob("checkpoints/*")]
    return max((int(name) for name in found if name.isdecimal()), default=0)


def finished(folder: Path) -> str:
    """How it ended; "" if it has not."""
    summary = read_summary(folder)
    if "diverged_at" in summary:
        return f"diverged at step {summary['diverged_at']}"
    return "done" if {"steps", "best"} & summary.keys() else ""


def rows(folder: Path) -> list[dict[str, Any]]:
    """Of each run, where it stands."""
    found = []
    for run in runs(folder):
        last = (MetricsFile(run / "metrics.csv").read() or [{}])[-1]
        row = {"run": run.relative_to(folder.parent).as_posix(), "step": step(run)}
        found.append(row | {key: last[key] for key in SHOWN if key in last})
    return found
