"""Keeps a fusion of jaxlib 0.10.2 off that computes wrong numbers on CPUs, silently.

There p (g - sum p g), the derivative of a softmax, comes out wrong for all but the first of several
g that share p, as under ``vmap`` over keys: https://github.com/jax-ml/jax/issues/39103. jaxlib 0.11
is right.
"""

from __future__ import annotations

import os
import warnings
from importlib.metadata import version
from pathlib import Path

import jax

FLAG = "--xla_cpu_experimental_ynn_fusion_type="  # the kinds of fusion to use: none
WRONG = ("0.10.2",)


def avoid_wrong_fusion() -> None:
    """Sets the flag of XLA where it is needed, and warns where that is too late."""
    flags = os.environ.get("XLA_FLAGS", "")
    if version("jaxlib") not in WRONG or FLAG in flags:
        return
    os.environ["XLA_FLAGS"] = f"{flags} {FLAG}".strip()
    from jax._src import xla_bridge  # of these versions alone

    if xla_bridge.backends_are_initialized():
        warnings.warn(
            "jaxlib 0.10.2 computes some gradients wrongly on CPUs, and JAX was used before fsb "
            f"could prevent it: import fsb first, or set XLA_FLAGS={FLAG}, or take jaxlib 0.11",
            stacklevel=3,
        )


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
