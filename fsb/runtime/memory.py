"""Whether a compiled program fits into memory, before it runs.

A system that runs out of memory kills the program, without a word.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from fsb.errors import FsbError, first_line

CURE = "choose a smaller batch_size, or model.remat=true if the model has it"
PLENTY = 2**30
"""Programs that need less are not checked."""


def require_memory(program: Any, *args: Any) -> None:
    """Compiles a jitted function for these arguments; a call of it with them compiles no more.

    Raises:
      FsbError: if it needs more memory than is free.

    >>> import jax, jax.numpy as jnp
    >>> require_memory(jax.jit(lambda x: x + 1), jnp.zeros(3))
    """
    compiled = program.lower(*args).compile()
    sizes = compiled.memory_analysis()
    if sizes is None:
        return
    needed = sizes.temp_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    devices = jax.tree.leaves(compiled.output_shardings)[0].addressable_devices
    device = next(iter(devices))
    if device.platform == "cpu":  # several of them share one memory
        needed, free = needed * len(devices), free_memory()
    else:
        stats = device.memory_stats() or {}
        free = stats.get("bytes_limit", needed) - stats.get("bytes_in_use", 0)
    if needed > max(free, PLENTY):
        raise FsbError(
            f"a train step needs {needed / 1e9:.1f} GB more memory, and {free / 1e9:.1f} GB are "
            f"free: {CURE}"
        )


@contextlib.contextmanager
def out_of_memory() -> Iterator[None]:
    """Turns an error of XLA, that a device has no memory left, into one line.

    Raises:
      FsbError: in its place.

    >>> with out_of_memory():
    ...     raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
    Traceback (most recent call last):
    fsb.errors.FsbError: no memory left: choose ... (Out of memory allocating 9 bytes.)
    """
    try:
        yield
    except Exception as error:
        code, _, said = first_line(error).partition(": ")
        if code != "RESOURCE_EXHAUSTED" or "memory" not in said:
            raise
        raise FsbError(f"no memory left: {CURE} ({said})") from None


def free_memory(root: str = "/") -> int:
    """Bytes that this process may still take on Linux, elsewhere 2^63.

    The least of what the machine has left, swap included, and of what each control group of this
    process has left; pages that only cache files count as free.
    """
    try:
        kb = dict(re.findall(r"(\w+): +(\d+) kB", Path(root, "proc/meminfo").read_text()))
        machine = [1024 * (int(kb["MemAvailable"]) + int(kb.get("SwapFree", 0)))]
    except (OSError, KeyError):
        machine = []
    return min([*machine, *_left_in_groups(root)], default=2**63)


def _left_in_groups(root: str) -> Iterator[int]:
    """What is left of each limit: of every group up to the root, in version 2 and 1 of cgroups."""
    try:
        groups = Path(root, "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers in ("", "memory"):
            base = Path(root, "sys/fs/cgroup", controllers)
            own = base / path.lstrip("/")
            for folder in (own, *own.parents):
                yield from _left_of(folder, *NAMES[controllers])
                if folder == base:
                    break


NAMES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Of the files of a group, by version: its limit, its use, and the use that is cache."""


def _left_of(folder: Path, limit: str, use: str, cached: str) -> Iterator[int]:
    try:
        most, used = int((folder / limit).read_text()), int((folder / use).read_text())
        stat = dict(re.findall(r"(\w+) (\d+)", (folder / "memory.stat").read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return
    yield most - used + int(stat.get(cached, 0))
