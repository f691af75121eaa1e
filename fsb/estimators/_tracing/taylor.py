"""Derivatives of any order along a direction, and in every coordinate of a site's value."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental.jet import jet

from fsb.errors import FsbError
from fsb.estimators._tracing.evaluate import evaluate
from fsb.types import Array

Function = Callable[[Array], Array]

NESTED = 4  # orders up to which forward derivatives are nested; their code doubles with each


def gradient(f: Function, z: Array) -> Array:
    """f'(z) in all coordinates from one pass, [B, D...]."""
    return jax.grad(lambda z: f(z).sum())(z)


def derivatives(f: Function, z: Array, direction: Array, order: int) -> Array:
    """d^n f(z + t direction) / dt^n at t = 0 for n = 1 .. order, [order, ...].

    By nested forward derivatives up to order 4, by a Taylor series beyond.

    Raises:
      FsbError: if f has an operation whose series is not known.

    >>> derivatives(lambda z: z**3, jnp.ones(2), jnp.array([1.0, 2.0]), 3).tolist()
    [[3.0, 6.0], [6.0, 24.0], [6.0, 48.0]]
    """
    if order <= NESTED:
        found = []
        for _ in range(order):
            f = forward(f, direction)
            found.append(f(z))
        return jnp.stack(found)
    closed = jax.make_jaxpr(f)(z)
    # jet knows the series of operations, but not of calls.
    plain = lambda z: evaluate(closed.jaxpr, closed.consts, [z], opens=lambda args: True)[0]
    rest = [jnp.zeros_like(z)] * (order - 1)
    try:
        return jnp.stack(jet(plain, (z,), ([direction, *rest],))[1])
    except (KeyError, NotImplementedError) as error:
        raise FsbError(f"no derivative of order {order} is known of {error}") from None


def forward(f: Function, direction: Array) -> Function:
    """The derivative of f along a direction, as a function of z."""
    return lambda z: jax.jvp(f, (z,), (direction,))[1]


def along(f: Function, z: Array, moves: Array, shift: Array, order: int, side: int) -> Array:
    """Derivatives of f at z + m shift along m, for each move m of moves [M, 1, D...].

    Args:
      side: moves evaluated side by side.

    Returns:
      [M, order, B].
    """

    def one(move):
        return derivatives(f, z + move * shift, jnp.broadcast_to(move, z.shape), order)

    return jax.lax.map(one, moves, batch_size=side)


def coordinates(
    f: Function, z: Array, shift: Array, order: int, separable: bool, side: int
) -> Array:
    """d^n f / dz_j^n at z + shift_j e_j, for every coordinate j by itself.

    One coordinate is moved at a time. If f is ``separable``, a sum over the coordinates, a single
    pass with all of them moved gives the same.

    Args:
      f: z [B, D...] -> [B], every example by itself.
      shift: [B, D...].
      side: coordinates evaluated side by side.

    Returns:
      [order, B, D...], for n = 1 .. order.

    >>> f = lambda z: (z**2).sum(-1)
    >>> z = jnp.array([[1.0, 3.0]])
    >>> coordinates(f, z, 0 * z, 2, False, 8).tolist()
    [[[2.0, 6.0]], [[2.0, 2.0]]]
    """
    if separable:
        slope = lambda z: gradient(f, z)
        first = slope(z + shift)[None]
        if order == 1:
            return first
        return jnp.concatenate([first, derivatives(slope, z + shift, jnp.ones_like(z), order - 1)])
    units = math.prod(z.shape[1:])
    moves = jnp.eye(units, dtype=z.dtype).reshape(units, 1, *z.shape[1:])
    found = along(f, z, moves, shift, order, side)  # [units, order, B]
    return jnp.moveaxis(found, 0, -1).reshape(order, *z.shape)
