"""How one operation passes on the flip of one unit: the rules that ``fsb.flips`` stands on.

A value that depends on z is carried for many flips side by side, in one of two forms: ``Local``, by
its change at the flipped unit alone, as long as every flip changes as many numbers and it is known
which; ``Changed`` as a whole, from then on. Operations without a rule for the first form make their
operands whole and are vectorised over the flips, so that correctness hangs on no rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fsb.types import Array

ELEMENTWISE = """
    abs add add_any and cbrt ceil clamp convert_element_type copy copy_p cos cosh div eq erf
    erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min
    mul ne neg not or pow reduce_precision rem round rsqrt select_n sign sin sinh sqrt square
    stop_gradient sub tan tanh xor
"""


@dataclass(frozen=True, eq=False)
class Changed:
    """A value that depends on z; ``base`` is it at z itself. Flips of it are [flips, *shape]."""

    base: Array


@dataclass(frozen=True, eq=False)
class Local(Changed):
    """A value [B, ...] of which the flip of a unit changes only some numbers.

    Flips of it are [units, choices, B, E]. ``slots`` [U, E] says where in an example, counted row
    by row, they stand.
    """

    slots: np.ndarray


class Step(NamedTuple):
    """``compute(unit, *ins) -> outs`` for a block of flips, whose units are ``unit``."""

    compute: Callable[..., Sequence[Array]]
    ins: tuple[Changed, ...]
    outs: tuple[Changed, ...]


def base(x: Any) -> Any:
    return x.base if isinstance(x, Changed) else x


def bind(eqn: Any, args: Sequence) -> list:
    """The results of one operation of a trace."""
    out = eqn.primitive.bind(*args, **eqn.primitive.get_bind_params(eqn.params))
    return list(out) if eqn.primitive.multiple_results else [out]


def follow(eqn: Any, ins: Sequence, outs: Sequence[Array], steps: list[Step]) -> list[Changed]:
    """Adds the steps of an operation that has ``outs`` at z itself, and returns its results."""
    changed = [x for x in ins if isinstance(x, Changed)]
    rule = RULES.get(eqn.primitive.name)
    if rule and all(isinstance(x, Local) for x in changed):
        found = rule(eqn, ins, *outs)
        if found:
            out, compute = found
            steps.append(Step(compute, tuple(changed), (out,)))
            covers = isinstance(out, Local) and everywhere(out.slots, out.base[0].size)
            return [whole(out, steps) if covers else out]
    ins = [whole(x, steps) for x in ins]
    axes = [0 if isinstance(x, Changed) else None for x in ins]

    def vectorised(unit, *new):
        return jax.vmap(lambda *args: bind(eqn, args), axes)(*filled(ins, new))

    changed = [x for x in ins if isinstance(x, Changed)]
    steps.append(Step(vectorised, tuple(changed), tuple(Changed(x) for x in outs)))
    return list(steps[-1].outs)


def whole(x: Any, steps: list[Step]) -> Any:
    """The same operand, as a whole if it is changed."""
    if not isinstance(x, Local):
        return x
    flat = x.base.reshape(x.base.shape[0], -1)

    def put(unit, new):
        if not everywhere(x.slots, flat.shape[1]):
            one = lambda slots, value: flat.at[:, slots].set(value)
            new = jax.vmap(jax.vmap(one, (None, 0)))(jnp.asarray(x.slots)[unit], new)
        return [new.reshape(-1, *x.base.shape)]

    steps.append(Step(put, (x,), (Changed(x.base),)))
    return steps[-1].outs[0]


def filled(ins: Sequence, new: Sequence[Array]) -> list:
    """The operands, with new values where they are changed."""
    values = iter(new)
    return [next(values) if isinstance(x, Changed) else x for x in ins]


def everywhere(slots: np.ndarray, size: int) -> bool:
    """Whether the flip of any unit changes all numbers of an example, in their order."""
    return slots.shape[1] == size and bool((slots == np.arange(size)).all())


def at_slots(x: Array, slots: np.ndarray, unit: Array) -> Array:
    """The numbers of x [B, ...] that the flips change: [units or 1, 1, B, E]."""
    x = x.reshape(x.shape[0], -1)
    if everywhere(slots, x.shape[1]):
        return x[None, None]
    return jnp.moveaxis(x[:, jnp.asarray(slots)[unit]], 0, 1)[:, None]


def change(x: Local, unit: Array, new: Array) -> Array:
    return new - at_slots(x.base, x.slots, unit)


def position(x: Local, axes: Sequence[int]) -> np.ndarray:
    """Where the changed numbers stand along some axes, taken together in this order: [U, E]."""
    index = np.unravel_index(x.slots, x.base.shape[1:])
    total = np.zeros_like(x.slots)
    for axis in axes:
        total = total * x.base.shape[axis] + index[axis - 1]
    return total


# --- rules: (operation, operands, result at z) -> (changed result, compute), or None


def elementwise(eqn, ins, out):
    """Operands that are changed at the same places, and others that are not."""
    slots = next(x.slots for x in ins if isinstance(x, Local))
    for x in ins:
        if isinstance(x, Local):
            if x.base.shape != out.shape or not np.array_equal(x.slots, slots):
                return None
        elif jnp.ndim(x) not in (0, out.ndim):
            return None

    def compute(unit, *new):
        def here(x):
            if isinstance(x, Local) or not jnp.ndim(x):
                return x
            x = jnp.broadcast_to(x, (x.shape[0], *out.shape[1:]))
            return jnp.broadcast_to(at_slots(x, slots, unit), new[0].shape)

        return bind(eqn, filled([here(x) for x in ins], new))

    return Local(out, slots), compute


def move(eqn, ins, out):
    """Every number goes to one place, within its example: found by moving their numbers."""
    x, *others = (x for x in ins if isinstance(x, Local))
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
    return Local(out, place[np.argsort(source)][x.slots]), lambda unit, new: [new]


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
    slots = position(x, [axis for axis in range(1, x.base.ndim) if axis not in axes])
    add = lambda d: d
    if (slots == slots[:, :1]).all():
        slots, add = slots[:, :1], lambda d: d.sum(-1, keepdims=True)
    elif not np.diff(np.sort(slots)).all():
        return None

    def compute(unit, new):
        return [at_slots(out, slots, unit) + add(change(x, unit, new)).astype(out.dtype)]

    return Local(out, slots), compute


def dot_general(eqn, ins, out):
    """One factor changed: the product at z, and the change times its rows of the other factor."""
    side = 0 if isinstance(ins[0], Local) else 1
    x, matrix = ins[side], ins[1 - side]
    contract, batch = eqn.params["dimension_numbers"]
    over, rows, lead = contract[side], contract[1 - side], batch[1 - side]
    if isinstance(matrix, Local) or 0 in over or batch[side] not in ((), (0,)):
        return None
    free = [axis for axis in range(1, x.base.ndim) if axis not in over]
    place, row = position(x, free), position(x, over)
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

    return Changed(out) if turned else Local(out, slots), compute


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
