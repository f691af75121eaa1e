"""Refuses a site that JAX would trace once and run many times, or whose values would leak."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import jax

from fsb.errors import FsbError

JAX = str(Path(jax.__file__).parent)

LOOP = "use fsb.scan, which gives every turn its own noise"
EXAMPLES = "use fsb.vmap, or write the model for a whole batch"
CHOICE = "sample before it, and choose between the results with jnp.where or within it"
CURES = {
    "scan": LOOP,
    "associative_scan": LOOP,
    "map": LOOP,
    "fori_loop": LOOP,
    "while_loop": LOOP,
    "vmap": EXAMPLES,
    "pmap": EXAMPLES,
    "cond": CHOICE,
    "switch": CHOICE,
    "shard_map": "sample outside, or shard the batch by the shardings of params and data alone",
    "checkpoint": "use fsb.remat",
    "jit": "take the inner jit away and compile the whole step",
    "grad": "sample before it, and differentiate a function of the value",
    "custom_vjp": "sample before it and pass the value",
    "custom_jvp": "sample before it and pass the value",
}
FUNCTIONS = {  # of JAX, by the name that a frame of the call stack has
    **{name: name for name in CURES},
    "vmap_f": "vmap",
    "cache_miss": "jit",
    "_infer_params": "jit",
    "fun_remat": "checkpoint",
    "value_and_grad_f": "grad",
    "jvp": "grad",
    "linearize": "grad",
    "vjp": "grad",
    "pmap_f": "pmap",
}


def refuse_misplaced(name: str) -> NoReturn:
    """Raises the error for a site sampled within a transformation of JAX, with the cure."""
    frame, found = sys._getframe(2), None
    while frame is not None and frame.f_code.co_name != "collect_sites":
        code = frame.f_code
        if code.co_filename.startswith(JAX):
            # The last is the one nearest the loss: jnp functions have a jit of their own within.
            found = FUNCTIONS.get(code.co_name, found)
        frame = frame.f_back  # type: ignore[assignment]
    if found is None:
        raise FsbError(
            f"site {name!r} was sampled within a transformation of JAX, where its draws would be "
            "shared or lost; use the sample function that fsb.scan, fsb.vmap or fsb.remat hand over"
        )
    where = f"jax.lax.{found}" if CURES[found] in (LOOP, CHOICE) else f"jax.{found}"
    raise FsbError(
        f"site {name!r} was sampled within {where}, where its draws would be shared or lost; "
        f"{CURES[found]}"
    )
