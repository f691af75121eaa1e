"""Values that depend on z, carried for many flips of z side by side.

``LocallyFlipped`` holds only the numbers that a flip can change: possible as long as every flip
changes equally many, at known places. ``Flipped`` holds the whole value. A ``Step`` computes the
values of one operation at a block of flips from those of its operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fsb.types import Array


@dataclass(frozen=True, eq=False)
class Flipped:
    """A value that depends on z; ``base`` is its value at z itself. At the flips, [flips, *shape].

    Identity is what tells two such values apart: they are keys of the tables of ``at_flips``.
    """

    base: Array


@dataclass(frozen=True, eq=False)
class LocallyFlipped(Flipped):
    """A value [B, ...] of which the flip of a unit changes only some numbers.

    At the flips, [units, choices, B, E]. ``slots`` [U, E] are their places in an example, which is
    counted row by row.
    """

    slots: np.ndarray


class Step(NamedTuple):
    """``compute(unit, *ins) -> outs`` for a block of flips, of the units in ``unit``."""

    compute: Callable[..., Sequence[Array]]
    ins: tuple[Flipped, ...]
    outs: tuple[Flipped, ...]


def base(x: Any) -> Any:
    """The value at z itself, of anything."""
    return x.base if isinstance(x, Flipped) else x


def filled(ins: Sequence, new: Sequence[Array]) -> list:
    """The operands, with new values for those that depend on z."""
    values = iter(new)
    return [next(values) if isinstance(x, Flipped) else x for x in ins]


def whole(x: Any, steps: list[Step]) -> Any:
    """The same operand, as a ``Flipped`` if it is a ``LocallyFlipped``."""
    if not isinstance(x, LocallyFlipped):
        return x
    flat = x.base.reshape(x.base.shape[0], -1)

    def put(unit, new):
        if not everywhere(x.slots, flat.shape[1]):
            one = lambda slots, value: flat.at[:, slots].set(value)
            new = jax.vmap(jax.vmap(one, (None, 0)))(jnp.asarray(x.slots)[unit], new)
        return [new.reshape(-1, *x.base.shape)]

    steps.append(Step(put, (x,), (Flipped(x.base),)))
    return steps[-1].outs[0]


def everywhere(slots: np.ndarray, size: int) -> bool:
    """Whether the flip of any unit changes all numbers of an example, in their order."""
    return slots.shape[1] == size and bool((slots == np.arange(size)).all())


def at_slots(x: Array, slots: np.ndarray, unit: Array) -> Array:
    """The numbers of x [B, ...] that the flips change: [units or 1, 1, B, E]."""
    x = x.reshape(x.shape[0], -1)
    if everywhere(slots, x.shape[1]):
        return x[None, None]
    return jnp.moveaxis(x[:, jnp.asarray(slots)[unit]], 0, 1)[:, None]


def change(x: LocallyFlipped, unit: Array, new: Array) -> Array:
    """What the flips add to the numbers at z itself: [units, choices, B, E]."""
    return new - at_slots(x.base, x.slots, unit)


def place_along(x: LocallyFlipped, axes: Sequence[int]) -> np.ndarray:
    """The places of the changed numbers along some axes, counted together in this order: [U, E]."""
    index = np.unravel_index(x.slots, x.base.shape[1:])
    total = np.zeros_like(x.slots)
    for axis in axes:
        total = total * x.base.shape[axis] + index[axis - 1]
    return total
