"""The folder of a run: made once, never overwritten, and saying what produced it."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsb.errors import FsbError
from fsb.storage.atomic import write_json_atomic

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "fsb")


def new_run_folder(path: str | Path, exact: bool = True) -> Path:
    """Make the folder ``path``, its parents and ``checkpoints/`` in it; returns its absolute path.

    However many runs start at once, each gets a folder of its own.

    Args:
      exact: where the folder holds anything, refuse it; else take the first of ``path-2``,
        ``path-3``, ... that does not.

    Raises:
      FsbError: the folder is not empty, or cannot be made or written.
    """
    folder = Path(path).absolute()
    for number in itertools.count(1):
        place = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        if _claimed(place):
            return place
        if exact:
            break
    raise FsbError(f"run folder {folder} is not empty: choose another, or resume={folder} to go on")


def _claimed(folder: Path) -> bool:
    """Whether the folder was empty, or absent, and now is ours."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise FsbError(f"run folder {folder} cannot be written: permission denied")
        if any(folder.iterdir()):
            return False
        try:
            (folder / "checkpoints").mkdir()  # of two that come at once, one makes it
        except FileExistsError:
            return False
    except OSError as error:
        raise FsbError(f"run folder {folder} cannot be made: {error.strerror}") from error
    return True


def write_summary(folder: str | Path, entries: Mapping[str, Any]) -> dict[str, Any]:
    """Add ``entries`` to ``summary.json`` in ``folder``, atomically; returns all it holds now.

    Raises ``FsbError`` where the file cannot be read or written.
    """
    path = Path(folder) / "summary.json"
    write_json_atomic(path, {**read_summary(folder), **entries})
    return read_summary(folder)


def read_summary(folder: str | Path) -> dict[str, Any]:
    """What ``summary.json`` in ``folder`` holds; nothing where there is none yet.

    Raises ``FsbError`` where it is not a JSON object.
    """
    path = Path(folder) / "summary.json"
    try:
        summary = json.loads(path.read_text("utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise FsbError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(summary, dict):
        raise FsbError(f"{path} holds no JSON object")
    return summary
