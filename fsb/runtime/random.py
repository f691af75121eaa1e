"""Random bits and uniform noise: the same numbers as ``jax.random``, but faster on CPU.

On CPU, JAX compiles its default generator, Threefry-2x32, into a loop with copies, which took a
tenth of a train step. Written out explicitly it is fused with its consumers and takes a third of
the time, and the compiler sees what is computed twice with it. Other platforms and generators use
``jax.random`` itself.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from fsb.types import Array

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def bits(key: Array, shape: tuple[int, ...]) -> Array:
    """``jax.random.bits(key, shape)``: uniform uint32.

    >>> key = jax.random.key(7)
    >>> bool((bits(key, (3, 5)) == jax.random.bits(key, (3, 5))).all())
    True
    """
    partitionable = jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    if not (_is_threefry(key) and partitionable and math.prod(shape) < 2**32):
        return jax.random.bits(key, shape, jnp.uint32)
    return _of_platform(_words(key), shape)


def uniform(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
    """``jax.random.uniform(key, shape, dtype)``: in [0, 1), with 23 bits in float32.

    >>> key = jax.random.key(7)
    >>> bool((uniform(key, (3, 5)) == jax.random.uniform(key, (3, 5))).all())
    True
    """
    if dtype != jnp.float32:
        return jax.random.uniform(key, shape, dtype)
    mantissa = (bits(key, shape) >> 9) | jnp.uint32(0x3F800000)
    return jax.lax.bitcast_convert_type(mantissa, jnp.float32) - 1


def fold_in(key: Array, number: int) -> Array:
    """``jax.random.fold_in(key, number)``, for a number below 2^32.

    >>> key = jax.random.key(7)
    >>> bool(fold_in(key, 5) == jax.random.fold_in(key, 5))
    True
    """
    if not _is_threefry(key):
        return jax.random.fold_in(key, number)
    words = _folded(_words(key), jnp.uint32(number))
    return words if jnp.issubdtype(key.dtype, jnp.uint32) else jax.random.wrap_key_data(words)


def split(key: Array, count: int) -> Array:
    """``jax.random.split(key, count)``.

    >>> key = jax.random.key(7)
    >>> bool((split(key, 3) == jax.random.split(key, 3)).all())
    True
    """
    partitionable = jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    if not (_is_threefry(key) and partitionable):
        return jax.random.split(key, count)
    words = jax.vmap(_folded, (None, 0))(_words(key), jnp.arange(count, dtype=jnp.uint32))
    return words if jnp.issubdtype(key.dtype, jnp.uint32) else jax.random.wrap_key_data(words)


def _is_threefry(key: Array) -> bool:
    return str(jax.random.key_impl(key)) == "threefry2x32"


def _words(key: Array) -> Array:
    """The two words of a key."""
    return key if jnp.issubdtype(key.dtype, jnp.uint32) else jax.random.key_data(key)


@jax.jit
def _folded(words: Array, number: Array) -> Array:
    """The words of the folded key, in the way that suits the platform."""
    wrap, data = jax.random.wrap_key_data, jax.random.key_data
    return jax.lax.platform_dependent(
        words,
        number,
        cpu=lambda words, number: jnp.stack(_rounds(words, jnp.zeros_like(number), number)),
        default=lambda words, number: data(jax.random.fold_in(wrap(words), number)),
    )


@partial(jax.jit, static_argnums=1)  # traced once for each shape, not at each site
def _of_platform(words: Array, shape: tuple[int, ...]) -> Array:
    """The bits of the generator that suits the platform."""
    return jax.lax.platform_dependent(
        words,
        cpu=lambda words: _threefry(words, shape),
        default=lambda words: jax.random.bits(jax.random.wrap_key_data(words), shape, jnp.uint32),
    )


def _threefry(words: Array, shape: tuple[int, ...]) -> Array:
    """Threefry-2x32 applied to (0, position), with its halves combined."""
    # Reshaped at the end: a reshaped iota is taken out of a loop of steps, once for each use, and
    # what is computed twice from it no longer looks the same.
    position = jax.lax.iota(jnp.uint32, math.prod(shape))
    x0, x1 = _rounds(words, jnp.zeros_like(position), position)
    return (x0 ^ x1).reshape(shape)


def _rounds(words: Array, x0: Array, x1: Array) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds.

    Source: Salmon et al. 2011 (Parallel Random Numbers: As Easy as 1, 2, 3),
    doi:10.1145/2063384.2063405.
    """
    keys = (words[0], words[1], words[0] ^ words[1] ^ jnp.uint32(PARITY))
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = ((x1 << rotation) | (x1 >> (32 - rotation))) ^ x0
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return x0, x1
