"""Parts of pytrees, and programs that are compiled once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

from fsb.types import PyTree

Part = tuple[list[Any], Callable[..., PyTree]]
KEPT = 128  # compiled programs


def arrays(tree: PyTree) -> Part:
    """The leaves that are arrays, and a function that puts others in their place.

    >>> leaves, rebuild = arrays({"w": jnp.ones(2), "act": len})
    >>> rebuild([jnp.zeros(2)])
    {'act': <built-in function len>, 'w': Array([0., 0.], dtype=float32)}
    """
    return _split(tree, [is_array(leaf) for leaf in jax.tree.leaves(tree)])


def differentiable(tree: PyTree) -> Part:
    """The leaves to differentiate in, and a function that puts others in their place.

    These are all leaves, if all are floating-point numbers, as for ``jax.grad``; otherwise the
    floating-point arrays, as for ``equinox.filter_grad``. ``rebuild(leaves, None)`` has None in
    place of every other leaf.

    >>> leaves, rebuild = differentiable({"w": jnp.ones(2), "rate": 0.5, "steps": 3})
    >>> len(leaves), rebuild([7.0], None)
    (1, {'rate': None, 'steps': None, 'w': 7.0})
    """
    leaves = jax.tree.leaves(tree)
    numbers = [isinstance(leaf, (float, complex)) or is_inexact(leaf) for leaf in leaves]
    return _split(tree, numbers if all(numbers) else [is_inexact(leaf) for leaf in leaves])


def is_array(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and hasattr(leaf, "shape")


def is_inexact(leaf: Any) -> bool:
    return is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.inexact)


SAME = object()


def _split(tree, chosen):
    leaves, structure = jax.tree.flatten(tree)

    def rebuild(new, other=SAME):
        new = iter(new)
        rest = leaves if other is SAME else [other] * len(leaves)
        merged = [next(new) if mine else old for mine, old in zip(chosen, rest, strict=True)]
        return jax.tree.unflatten(structure, merged)

    return [leaf for leaf, mine in zip(leaves, chosen, strict=True) if mine], rebuild


_compiled: dict[Any, Callable] = {}


def call(f: Callable, *args: PyTree) -> Any:
    """``jax.jit(f)(*args)``, traced at every call and compiled once per program.

    ``jax.jit`` compiles once per function *object*, and a function that reads something that has
    changed since, such as a global or an attribute, gets the old answer. Here the program itself is
    the key, so different objects with the same program share it. A call costs a trace of the
    function; within ``jax.jit`` there is none, but then what it reads is fixed.

    >>> t = 1.0
    >>> f = lambda x: x + t
    >>> first = call(f, jnp.float32(1))
    >>> t = 5.0
    >>> float(first), float(call(f, jnp.float32(1)))
    (2.0, 6.0)
    """
    new = lambda *args: f(*args)  # JAX keeps the traces of a function object
    program, shape = jax.make_jaxpr(new, return_shape=True)(*args)
    leaves, run = jax.tree.leaves(args), jaxpr_as_fun(program)
    structure = jax.tree.structure(shape)
    if any(isinstance(x, jax.core.Tracer) for x in [*leaves, *program.consts]):
        return jax.tree.unflatten(structure, run(*leaves))  # the outer transformation compiles
    lowered = jax.jit(run).lower(*leaves)
    places = tuple(str(getattr(leaf, "sharding", "")) for leaf in leaves)
    text = hashlib.sha256(lowered.as_text().encode()).digest()
    key = (text, str(lowered.in_avals), places)
    if key not in _compiled:
        if len(_compiled) == KEPT:
            del _compiled[next(iter(_compiled))]
        _compiled[key] = lowered.compile()
    return jax.tree.unflatten(structure, _compiled[key](*leaves))
