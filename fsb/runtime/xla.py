"""Disables a fusion of jaxlib 0.10.2 that silently computes wrong results on CPU.

There p (g - sum p g), the derivative of a softmax, is wrong for all but the first of several g that
share p, as under ``vmap`` over keys: https://github.com/jax-ml/jax/issues/39103. Fixed in jaxlib
0.11.
"""

from __future__ import annotations

import os
import warnings
from importlib.metadata import version
from pathlib import Path

import jax

FLAG = "--xla_cpu_experimental_ynn_fusion_type="  # an empty list of fusion types
WRONG = ("0.10.2",)


def avoid_wrong_fusion() -> None:
    """Sets the XLA flag if it is needed; warns if it is too late."""
    flags = os.environ.get("XLA_FLAGS", "")
    if version("jaxlib") not in WRONG or FLAG in flags:
        return
    os.environ["XLA_FLAGS"] = f"{flags} {FLAG}".strip()
    from jax._src import xla_bridge  # private; only for the versions above

    if xla_bridge.backends_are_initialized():
        warnings.warn(
            "jaxlib 0.10.2 computes some gradients incorrectly on CPU, and JAX was used before fsb "
            f"could prevent it: import fsb first, set XLA_FLAGS={FLAG}, or install jaxlib 0.11",
            stacklevel=3,
        )


def compilation_cache(folder: str | None) -> None:
    """Caches compiled programs in ``folder``; does nothing if it is None or cannot be made."""
    if folder is None:
        return
    path = Path(folder).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # only speed is lost
    jax.config.update("jax_compilation_cache_dir", str(path))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
