"""A profile of some train steps, made with ``jax.profiler``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import jax

from fsb.errors import FsbError, first_line

VIEWERS = (
    "open it with tensorboard --logdir {folder} (pip install tensorboard xprof), "
    "or its perfetto_trace.json.gz at https://ui.perfetto.dev"
)


class Profile:
    """Traces ``steps`` train steps, in whole chunks, after the first chunk, which compiles.

    What lies between two traced chunks, such as an evaluation, is traced as well; no number
    changes. Use it as a context manager, which makes the folder and ends a trace that still runs.

    Args:
      folder: where the files go; with several processes each has a folder of its number in it.
      steps: how many; with None nothing happens.

    Raises:
      FsbError: if the folder cannot be made.
    """

    def __init__(self, folder: Path, steps: int | None):
        several = jax.process_count() > 1
        self.folder = folder
        self._own = folder / str(jax.process_index()) if several else folder
        self._left = steps or 0
        self._first = self._last = 0
        self._compiled = self._runs = False

    def __enter__(self) -> Profile:
        if self._left:
            try:
                self._own.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise FsbError(f"profile: cannot make {self._own}: {error.strerror}") from error
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop()

    def before(self, step: int) -> None:
        """To be called before each chunk, with the steps made so far."""
        if self._compiled and self._left > 0 and not self._runs:
            jax.profiler.start_trace(self._own, create_perfetto_trace=True)
            self._runs, self._first, self._last = True, step + 1, step
        self._compiled = True

    def after(self, step: int, state: Any) -> None:
        """To be called after each chunk, with the steps made so far, and the state they made."""
        if self._runs:
            self._left -= step - self._last
            self._last = step
            if self._left <= 0:
                jax.block_until_ready(state)
                self._stop()

    def tell(self) -> None:
        """Says in one line, in process 0, where the profile is and how to open it, if any."""
        if jax.process_index() != 0:
            return
        if self._first:
            steps = f"profile of steps {self._first} to {self._last}"
            print(f"{steps}: {self.folder}; {VIEWERS.format(folder=self.folder)}")
        elif self._left:
            print("profile: no chunk of steps followed the first, so none was traced")

    def _stop(self) -> None:
        if self._runs:
            self._runs = False
            try:
                jax.profiler.stop_trace()
            except (OSError, RuntimeError) as error:  # a full disk does not end the run
                warnings.warn(f"profile: not written: {first_line(error)[:120]}", stacklevel=3)
