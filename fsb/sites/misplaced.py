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
OTHER_NAMES = {
    "_cpp_pjit": "jit",
    "_shard_map": "shard_map",
    "value_and_grad": "grad",
} | dict.fromkeys(("jvp", "vjp", "linearize", "jacfwd", "jacrev"), "grad")
FILES = (
    "loops.py",
    "conditionals.py",
    "api.py",
    "pjit.py",
    "ad_checkpoint.py",
    "custom_derivatives.py",
    "shard_map.py",
)


def refuse_misplaced(name: str, recorder: object) -> NoReturn:
    """Raises the error for a site sampled within a transformation of JAX, with the cure."""
    frame, found = sys._getframe(2), None
    while frame is not None:
        code = frame.f_code
        if code.co_name == "record" and frame.f_locals["sample"] is recorder:
            break
        if code.co_filename.startswith(JAX) and code.co_filename.endswith(FILES):
            function = code.co_qualname.partition(".")[0]
            function = OTHER_NAMES.get(function, function)
            # The one nearest the loss counts: functions of jax.numpy have a jit of their own.
            found = function if function in CURES else found
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
