"""The compilation cache: what was compiled once is not compiled again by the next run."""

from __future__ import annotations

from pathlib import Path

import jax


def compilation_cache(folder: str | None) -> None:
    """Keeps compiled programs in ``folder``; None, or a folder that cannot be made, keeps none."""
    if folder is None:
        return
    path = Path(folder).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # only speed is lost
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
