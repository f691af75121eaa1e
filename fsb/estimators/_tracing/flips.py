"""A function of a site's value z, at every value that differs from z in one unit.

The function is traced once, and the trace evaluated for many flips side by side. What does not
depend on z is computed once for all flips. What does is carried by its change at the flipped unit
alone for as long as possible: through elementwise operations, reshapes, and sums over units. At the
first product with a matrix that does not depend on z, as in the dense layer after a site, a flip
takes the product at z itself, computed once, and adds the change of the unit times its row of the
matrix: a rank-one update instead of a matrix product. The model need not know of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fsb.estimators._tracing.evaluate import Trace, apply_primitive, evaluate
from fsb.estimators._tracing.flip_rules import follow
from fsb.estimators._tracing.flipped import Flipped, LocallyFlipped, Step, base, whole
from fsb.types import Array


def at_flips(function: Callable[[Array], Array], z: Array, others: Array, memory: int) -> Array:
    """``function`` at z with one unit replaced, for all units and all of their other values.

    The result is constant to differentiation. The flips are evaluated in blocks, side by side
    within a block.

    Args:
      function: z [B, D...] -> [B], every example by itself.
      z: [B, D...], of U units of E numbers each.
      others: [U, choices, B, E], the values that replace each unit.
      memory: bytes that a block may take, as estimated from the shapes; a block has at least one
        flip.

    Returns:
      [U, choices, B].

    >>> import jax.numpy as jnp
    >>> z = jnp.array([[0.0, 1.0, 1.0]])
    >>> others = (1 - z).T[:, None, :, None]
    >>> at_flips(lambda z: z @ jnp.array([1.0, 10.0, 100.0]), z, others, 2**20)[:, 0, 0].tolist()
    [111.0, 100.0, 10.0]
    """
    units, choices, batch, size = others.shape
    z = jax.lax.stop_gradient(z)
    start = LocallyFlipped(z, np.arange(units * size).reshape(units, size))
    out, steps = trace_flips(Trace(function, z), start)
    if not isinstance(out, Flipped) or not others.size:
        return jnp.broadcast_to(base(out)[None, None], (units, choices, batch))
    out = whole(out, steps)
    steps, bytes_of_one = needed(steps, out)

    def block_of_flips(block):
        unit, choice = block
        new: dict[Flipped, Array] = {start: others[unit[:, None], choice[None]]}
        for step in steps:
            outs = step.compute(unit, *(new[x] for x in step.ins))
            new.update(zip(step.outs, outs, strict=True))
        return new[out].reshape(len(unit), len(choice), batch)

    at_once = memory // bytes_of_one
    unit_blocks, choice_blocks = blocks(units, at_once // choices), blocks(choices, at_once)
    (rows, height), (columns, width) = unit_blocks.shape, choice_blocks.shape
    if rows * columns == 1:
        return block_of_flips((unit_blocks[0], choice_blocks[0]))
    grid = jnp.repeat(unit_blocks, columns, 0), jnp.tile(choice_blocks, (rows, 1))
    # Values of a unit are split only where one unit is a block: then height is 1.
    result = jax.lax.map(block_of_flips, grid).reshape(rows * height, columns * width, batch)
    return result[:units, :choices]


def trace_flips(function: Trace, start: LocallyFlipped) -> tuple[Any, list[Step]]:
    """The function's value at z itself, flipped if it depends on z, and the steps of a flip."""
    steps: list[Step] = []
    depends_on_z = lambda ins: any(isinstance(x, Flipped) for x in ins)

    def apply(eqn, ins):
        outs = apply_primitive(eqn, [base(x) for x in ins])
        return follow(eqn, ins, outs, steps) if depends_on_z(ins) else outs

    (out,) = evaluate(function.jaxpr, function.consts, [start], apply, opens=depends_on_z)
    return out, steps


def blocks(count: int, at_most: int) -> np.ndarray:
    """0 .. count - 1 in rows of at most ``at_most``, the last filled up with its last number."""
    rows = math.ceil(count / max(1, at_most))
    length = math.ceil(count / rows)
    return np.minimum(np.arange(rows * length), count - 1).reshape(rows, length)


def needed(steps: list[Step], out: Flipped) -> tuple[list[Step], int]:
    """The steps that ``out`` depends on, and the most bytes that one flip holds at a time."""
    kept: list[Step] = []
    live, most = {out}, 1
    for step in reversed(steps):
        if live & {*step.outs}:
            kept.append(step)
            live |= {*step.outs, *step.ins}
            most = max(most, sum(map(bytes_of, live)))
            live -= {*step.outs}
    return kept[::-1], most


def bytes_of(x: Flipped) -> int:
    size = x.base.shape[0] * x.slots.shape[1] if isinstance(x, LocallyFlipped) else x.base.size
    return size * x.base.dtype.itemsize
