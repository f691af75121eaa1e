"""The folder of a run: made once, never overwritten, and saying what produced it."""

from __future__ import annotations

import itertools
import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from fsb.files import write_json_atomic
from fsb.types import FsbError

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


def provenance() -> dict[str, Any]:
    """What a summary says of its origin: ``git_commit``, ``device`` and ``versions``."""
    return {"git_commit": git_commit(), "device": device(), "versions": versions()}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers may depend on, where installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit(folder: str | Path | None = None) -> str | None:
    """Commit of the checkout that tracks ``folder`` (fsb's own by default), "-dirty" if changed.

    ``None`` where git is absent, or the folder is in no checkout or is not tracked by it, as a
    virtual environment inside somebody's checkout is not.
    """
    folder = Path(folder) if folder is not None else Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", ".")
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def device() -> str:
    """The devices JAX computes on, such as ``"NVIDIA H200"`` or ``"cpu x2 (AMD EPYC 7B13)"``."""
    kinds = Counter(d.device_kind for d in jax.devices())
    text = ", ".join(kind if n == 1 else f"{kind} x{n}" for kind, n in kinds.items())
    return f"{text} ({_processor()})" if jax.default_backend() == "cpu" else text


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
