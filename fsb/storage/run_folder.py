"""The folder of a run: made once and never overwritten; its summary.json."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fsb.errors import FsbError, first_line
from fsb.storage.atomic import write_json_atomic, write_text_atomic


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


def require_own(folder: str | Path) -> None:
    """Refuses a run folder in which a name leads out of it, as a symbolic link does.

    A run writes, replaces and removes files of these names. W&B's own links below ``wandb/`` are
    not looked at.

    Raises:
      FsbError: if an entry is neither a regular file nor a folder; it is named.
    """
    pending = [Path(folder)]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except OSError as error:
            raise FsbError(f"run folder {folder} cannot be read: {error.strerror}") from error
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                below_wandb = Path(entry.path).parent.name == "wandb"
                pending += [] if below_wandb else [Path(entry.path)]
            elif not entry.is_file(follow_symlinks=False):
                if entry.is_symlink() and Path(entry.path).parent.name == "wandb":
                    continue
                kind = "a symbolic link" if entry.is_symlink() else "no regular file"
                raise FsbError(f"run folder {folder}: {entry.path} is {kind}; a run makes none")


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Keeps other processes from writing to a run folder; the lock ends with this process.

    Raises:
      FsbError: if another process has it; its host and process id are named.
    """
    owner = Path(folder) / ".owner"
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            name = owner.read_text("utf-8") if owner.is_file() else "another process"
            raise FsbError(f"run folder {folder} is in use by {name}") from None
        write_text_atomic(owner, f"process {os.getpid()} on {platform.node()}")
        try:
            yield
        finally:
            owner.unlink(missing_ok=True)
    finally:
        os.close(handle)


def identity(folder: str | Path) -> tuple[int, int] | None:
    """What stays the same while a folder is neither moved nor replaced; None if it is gone."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino


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
