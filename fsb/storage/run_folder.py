"""The folder of a run: made once and never overwritten; its summary.json."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsb.errors import FsbError, first_line
from fsb.storage.atomic import write_json_atomic

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "fsb")


def new_run_folder(path: str | Path, exact: bool = True) -> Path:
    """Makes the folder ``path`` with ``checkpoints/`` in it; returns its absolute path.

    However many runs start at once, each gets a folder of its own. See ``new_folder``.
    """
    return new_folder(path, exact, claim="checkpoints")


def new_folder(path: str | Path, exact: bool = False, claim: str = "") -> Path:
    """Makes an empty folder and its parents; returns its absolute path.

    Args:
      path: the folder.
      exact: whether a folder that holds anything is refused; otherwise the first of ``path-2``,
        ``path-3``, ... that is empty is taken.
      claim: a folder to make inside, so that of two processes only one gets the folder.

    Raises:
      FsbError: if the folder is not empty, or cannot be made or written.
    """
    folder = Path(path).absolute()
    for number in itertools.count(1):
        place = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        if _claimed(place, claim):
            return place
        if exact:
            break
    raise FsbError(f"run folder {folder} is not empty: choose another, or resume={folder} to go on")


def _claimed(folder: Path, claim: str) -> bool:
    """Whether the folder was empty or absent, and is ours now."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise FsbError(f"run folder {folder} cannot be written: permission denied")
        if any(folder.iterdir()):
            return False
        if claim:
            try:
                (folder / claim).mkdir()
            except FileExistsError:
                return False
    except OSError as error:
        raise FsbError(f"run folder {folder} cannot be made: {error.strerror}") from error
    return True


def write_summary(folder: str | Path, entries: Mapping[str, Any]) -> dict[str, Any]:
    """Adds ``entries`` to summary.json in ``folder``, atomically; returns all of its entries.

    Raises:
      FsbError: if the file cannot be read or written.
    """
    path = Path(folder) / "summary.json"
    write_json_atomic(path, {**read_summary(folder), **entries})
    return read_summary(folder)


def read_summary(folder: str | Path) -> dict[str, Any]:
    """The entries of summary.json in ``folder``; empty if there is no such file yet.

    Raises:
      FsbError: if it cannot be read, or is not a JSON object.
    """
    path = Path(folder) / "summary.json"
    try:
        summary = json.loads(path.read_text("utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise FsbError(f"{path} cannot be read: {first_line(error)}") from error
    if not isinstance(summary, dict):
        raise FsbError(f"{path} holds no JSON object")
    return summary
