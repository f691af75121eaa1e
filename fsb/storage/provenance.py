"""Where numbers come from: commit, device and versions, as every record has them."""

from __future__ import annotations

import os
import platform
import subprocess
from collections import Counter
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "fsb")


def provenance() -> dict[str, Any]:
    """The origin of a record: ``git_commit``, ``device`` and ``versions``.

    Where no checkout tells the commit, as on a machine that files were copied to, ``$FSB_COMMIT``
    does.
    """
    commit = git_commit() or os.environ.get("FSB_COMMIT")
    return {"git_commit": commit, "device": device(), "versions": versions()}


def factory_name(node: Mapping[str, Any]) -> str:
    """The short name of the factory that a node of a configuration names; "" if it names none.

    >>> factory_name({"_target_": "fsb.estimators.foust", "delta": 0.1})
    'foust'
    """
    return str(node.get("_target_") or "").rpartition(".")[2]


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that numbers may depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit(folder: str | Path | None = None) -> str | None:
    """The commit of the checkout that tracks ``folder`` (by default that of fsb itself).

    It ends in "-dirty" if tracked files were changed. None if there is no git, or no checkout
    tracks the folder, as with a virtual environment inside another project's checkout.
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
