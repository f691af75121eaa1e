"""A function of a site's value z, at all values that differ from z in one unit.

The function is traced once, and its trace evaluated for many flips side by side. What does not
depend on z is evaluated once, before the flips. What does is carried by its change at the flipped
unit alone as long as that is possible: through elementwise operations, reshapes, and sums over
units. At the first product with a matrix that does not depend on z, as in the dense layer after a
site, a flip costs the product at z itself, made once for all flips, plus the change of one unit
times its row of the matrix: a rank-one update and no matrix product. The model need not know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from fsb.estimators._tracing.flip_rules import Changed, Local, Step, base, bind, follow, whole
from fsb.types import Array

CALLS = """
    jit pjit closed_call core_call checkpoint remat remat2 custom_jvp_call custom_vjp_call
    custom_vjp_call_jaxpr
"""


def at_flips(function: Callable[[Array], Array], z: Array, others: Array, memory: int) -> Array:
    """``function`` at z with one unit replaced, all flips: [units, choices, B].

    The result is constant to differentiation. The flips are evaluated in blocks, side by side
    within a block.

    Args:
      function: z [B, D...] -> [B], every example by itself.
      z: with U units of E numbers in an example.
      others: [U, choices, B, E], what each unit is to be replaced by.
      memory: bytes that a block may take, as estimated from the shapes; a block is never less than
        one flip.

    >>> import jax.numpy as jnp
    >>> z = jnp.array([[0.0, 1.0, 1.0]])
    >>> others = (1 - z).T[:, None, :, None]
    >>> at_flips(lambda z: z @ jnp.array([1.0, 10.0, 100.0]), z, others, 2**20)[:, 0, 0].tolist()
    [111.0, 100.0, 10.0]
    """
    units, choices, batch, size = others.shape
    z = jax.lax.stop_gradient(z)
    start = Local(z, np.arange(units * size).reshape(units, size))
    steps: list[Step] = []
    (out,) = follow_trace(jax.make_jaxpr(function)(z), [start], steps)
    if not isinstance(out, Changed) or not others.size:
        return jnp.broadcast_to(base(out)[None, None], (units, choices, batch))
    out = whole(out, steps)
    steps, bytes_of_one = needed(steps, out)

    def evaluate(block):
        unit, choice = block
        new: dict[Changed, Array] = {start: others[unit[:, None], choice[None]]}
        for step in steps:
            outs = step.compute(unit, *(new[x] for x in step.ins))
            new.update(zip(step.outs, outs, strict=True))
        return new[out].reshape(len(unit), len(choice), batch)

    at_once = memory // bytes_of_one
    unit_blocks, choice_blocks = blocks(units, at_once // choices), blocks(choices, at_once)
    (rows, height), (columns, width) = unit_blocks.shape, choice_blocks.shape
    if rows * columns == 1:
        return evaluate((unit_blocks[0], choice_blocks[0]))
    grid = jnp.repeat(unit_blocks, columns, 0), jnp.tile(choice_blocks, (rows, 1))
    # Values of a unit are split only where one unit is a block: then height is 1.
    result = jax.lax.map(evaluate, grid).reshape(rows * height, columns * width, batch)
    return result[:units, :choices]


def blocks(count: int, at_most: int) -> np.ndarray:
    """0 .. count - 1 in rows of one length, at least 1; the last ones repeat the last number."""
    rows = math.ceil(count / max(1, at_most))
    length = math.ceil(count / rows)
    return np.minimum(np.arange(rows * length), count - 1).reshape(rows, length)


def follow_trace(closed: Any, args: Sequence, steps: list[Step]) -> list:
    """Evaluates a trace at z itself, as constants, and lists the steps that flips need."""
    consts = jax.lax.stop_gradient(getattr(closed, "consts", ()))
    jaxpr = getattr(closed, "jaxpr", closed)  # one that is rematerialised has no constants
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    read = lambda var: var.val if isinstance(var, Literal) else env[var]
    for eqn in jaxpr.eqns:
        ins = [read(var) for var in eqn.invars]
        if not any(isinstance(x, Changed) for x in ins):
            outs = bind(eqn, ins)
        elif eqn.primitive.name in CALLS.split():
            outs = follow_trace(eqn.params.get("jaxpr", eqn.params.get("call_jaxpr")), ins, steps)
        else:
            outs = follow(eqn, ins, bind(eqn, [base(x) for x in ins]), steps)
        env.update(zip(eqn.outvars, outs, strict=True))
    return [read(var) for var in jaxpr.outvars]


def needed(steps: list[Step], out: Changed) -> tuple[list[Step], int]:
    """The steps that ``out`` depends on, and the bytes of one flip at the fullest moment."""
    kept: list[Step] = []
    live, most = {out}, 1
    for step in reversed(steps):
        if live & {*step.outs}:
            kept.append(step)
            live |= {*step.outs, *step.ins}
            most = max(most, sum(map(bytes_of, live)))
            live -= {*step.outs}
    return kept[::-1], most


def bytes_of(x: Changed) -> int:
    size = x.base.shape[0] * x.slots.shape[1] if isinstance(x, Local) else x.base.size
    return size * x.base.dtype.itemsize
