"""How an operation turns the flips of its operands into those of its result.

A rule ``rule(eqn, ins, out)`` takes the operands, ``LocallyFlipped`` or independent of z, and the
result at z itself. It returns the result as a flipped value and ``compute`` of its ``Step``, or
None if it does not apply. Then, and for operations without a rule, the operands are made whole and
the operation is vectorised over the flips: rules save work, and correctness does not need them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fsb.estimators._tracing.evaluate import apply_primitive
from fsb.estimators._tracing.flipped import (
    Flipped,
    LocallyFlipped,
    Step,
    at_slots,
    change,
    everywhere,
    filled,
    place_along,
    whole,
)
from fsb.types import Array

ELEMENTWISE = """
    abs add add_any and cbrt ceil clamp convert_element_type copy copy_p cos cosh div eq erf
    erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min
    mul ne neg not or pow reduce_precision rem round rsqrt select_n sign sin sinh sqrt square
    stop_gradient sub tan tanh xor
"""


def follow(eqn: Any, ins: Sequence, outs: Sequence[Array], steps: list[Step]) -> list[Flipped]:
    """The results of an operation, some of whose operands are flipped; adds its steps to ``steps``.

    Args:
      outs: the results at z itself.
    """
    changed = [x for x in ins if isinstance(x, Flipped)]
    rule = RULES.get(eqn.primitive.name)
    if rule and all(isinstance(x, LocallyFlipped) for x in changed):
        found = rule(eqn, ins, *outs)
        if found:
            out, compute = found
            steps.append(Step(compute, tuple(changed), (out,)))
            covers = isinstance(out, LocallyFlipped) and everywhere(out.slots, out.base[0].size)
            return [whole(out, steps) if covers else out]
    ins = [whole(x, steps) for x in ins]
    axes = [0 if isinstance(x, Flipped) else None for x in ins]

    def vectorised(unit, *new):
        return jax.vmap(lambda *args: apply_primitive(eqn, args), axes)(*filled(ins, new))

    changed = [x for x in ins if isinstance(x, Flipped)]
    steps.append(Step(vectorised, tuple(changed), tuple(Flipped(x) for x in outs)))
    return list(steps[-1].outs)


def elementwise(eqn, ins, out):
    """All operands that depend on z must change at the same places."""
    slots = next(x.slots for x in ins if isinstance(x, LocallyFlipped))
    for x in ins:
        if isinstance(x, LocallyFlipped):
            if x.base.shape != out.shape or not np.array_equal(x.slots, slots):
                return None
        elif jnp.ndim(x) not in (0, out.ndim):
            return None

    def compute(unit, *new):
        def here(x):
            if isinstance(x, LocallyFlipped) or not jnp.ndim(x):
                return x
            x = jnp.broadcast_to(x, (x.shape[0], *out.shape[1:]))
            return jnp.broadcast_to(at_slots(x, slots, unit), new[0].shape)

        return apply_primitive(eqn, filled([here(x) for x in ins], new))

    return LocallyFlipped(out, slots), compute


def move(eqn, ins, out):
    """Every number keeps its value and moves to another place, found by moving indices."""
    x, *others = (x for x in ins if isinstance(x, LocallyFlipped))
    if others:
        return None
    batch, size = x.base.shape[0], x.base[0].size
    numbers = np.arange(batch * size).reshape(x.base.shape)
    ids = [numbers if y is x else np.full(np.shape(y), -1) for y in ins]
    moved = MOVES[eqn.primitive.name](*ids, **eqn.params)
    if not moved.ndim or moved.shape[0] != batch:
        return None
    moved = moved.reshape(batch, -1)
    (place,) = np.nonzero(moved[0] >= 0)
    source = moved[0, place]
    once = np.array_equal(np.sort(source), np.arange(size))
    if not once or (moved[:, place] != source + size * np.arange(batch)[:, None]).any():
        return None
    return LocallyFlipped(out, place[np.argsort(source)][x.slots]), lambda unit, new: [new]


def broadcast_in_dim(x: np.ndarray, shape, broadcast_dimensions, **_) -> np.ndarray:
    inner = np.ones(len(shape), int)
    inner[list(broadcast_dimensions)] = x.shape
    return np.broadcast_to(x.reshape(inner), shape)


def reduce_sum(eqn, ins, out):
    """Sums within an example: of the numbers of one unit, or over units."""
    (x,) = ins
    axes = eqn.params["axes"]
    if 0 in axes:
        return None
    slots = place_along(x, [axis for axis in range(1, x.base.ndim) if axis not in axes])
    add = lambda d: d
    if (slots == slots[:, :1]).all():
        slots, add = slots[:, :1], lambda d: d.sum(-1, keepdims=True)
    elif not np.diff(np.sort(slots)).all():
        return None

    def compute(unit, new):
        return [at_slots(out, slots, unit) + add(change(x, unit, new)).astype(out.dtype)]

    return LocallyFlipped(out, slots), compute


def dot_general(eqn, ins, out):
    """The product at z itself, plus the change of one factor times its rows of the other."""
    side = 0 if isinstance(ins[0], LocallyFlipped) else 1
    x, matrix = ins[side], ins[1 - side]
    contract, batch = eqn.params["dimension_numbers"]
    over, rows, lead = contract[side], contract[1 - side], batch[1 - side]
    if isinstance(matrix, LocallyFlipped) or 0 in over or batch[side] not in ((), (0,)):
        return None
    free = [axis for axis in range(1, x.base.ndim) if axis not in over]
    place, row = place_along(x, free), place_along(x, over)
    if (place != place[:, :1]).any() or (side and any(x.base.shape[axis] > 1 for axis in free)):
        return None
    columns = [axis for axis in range(matrix.ndim) if axis not in (*lead, *rows)]
    height, width = (math.prod(matrix.shape[i] for i in axes) for axes in (rows, columns))
    matrix = matrix.transpose(*lead, *rows, *columns).reshape(-1, height, width)  # [B or 1, ...]
    turned = bool(side) and not lead  # then the product has the examples last
    product = out.reshape(width, -1).T if turned else out
    slots = place[:, :1] * width + np.arange(width)

    def compute(unit, new):
        delta = change(x, unit, new)
        used = matrix[:, jnp.asarray(row)[unit]]  # [B or 1, units, E, columns]
        if delta.shape[-1] == 1:
            update = delta * jnp.moveaxis(used[:, :, 0], 0, 1)[:, None]
        else:
            terms = "ucbe,bueh->ucbh" if lead else "ucbe,ueh->ucbh"
            used = used if lead else used[0]
            precision = eqn.params["precision"]
            update = jnp.einsum(
                terms, delta, used, precision=precision, preferred_element_type=out.dtype
            )
        result = at_slots(product, slots, unit) + update.astype(out.dtype)
        return [result.swapaxes(2, 3).reshape(-1, *out.shape) if turned else result]

    return Flipped(out) if turned else LocallyFlipped(out, slots), compute


MOVES: dict[str, Callable[..., np.ndarray]] = {
    "reshape": lambda x, new_sizes, **_: x.reshape(new_sizes),
    "transpose": lambda x, permutation, **_: x.transpose(permutation),
    "squeeze": lambda x, dimensions, **_: x.squeeze(tuple(dimensions)),
    "broadcast_in_dim": broadcast_in_dim,
    "concatenate": lambda *xs, dimension, **_: np.concatenate(xs, dimension),
}
RULES: dict[str, Callable] = {
    **dict.fromkeys(ELEMENTWISE.split(), elementwise),
    **dict.fromkeys(MOVES, move),
    "reduce_sum": reduce_sum,
    "dot_general": dot_general,
}
