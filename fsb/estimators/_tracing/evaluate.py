"""Evaluates a traced function (a jaxpr), one operation after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import Literal

from fsb.types import Array

CALLS = (
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "checkpoint",
    "remat",
    "remat2",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
)


class Trace:
    """A function of one array as its trace, constant to differentiation in all but that array.

    >>> import jax.numpy as jnp
    >>> Trace(lambda z: 2 * z, jnp.zeros(2))(jnp.ones(2)).tolist()
    [2.0, 2.0]
    """

    def __init__(self, function: Callable[[Array], Array], z: Array):
        closed = jax.make_jaxpr(function)(z)
        self.jaxpr = closed.jaxpr
        self.consts = jax.lax.stop_gradient(closed.consts)

    def __call__(self, z: Array) -> Array:
        return evaluate(self.jaxpr, self.consts, [z])[0]


def apply_primitive(eqn: Any, args: Sequence) -> Sequence:
    """The results of one operation of a trace."""
    out = eqn.primitive.bind(*args, **eqn.primitive.get_bind_params(eqn.params))
    return out if eqn.primitive.multiple_results else [out]


def evaluate(
    jaxpr: Any,
    consts: Sequence,
    args: Sequence,
    apply: Callable[[Any, Sequence], Sequence] = apply_primitive,
    opens: Callable[[Sequence], bool] = lambda args: False,
) -> list:
    """The results of a trace.

    Args:
      apply: ``apply(eqn, args) -> results`` of one operation; its values need not be arrays.
      opens: whether a call with these arguments is evaluated operation by operation, a derivative
        of its own forgotten. Otherwise it is an operation like any other.
    """
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    read = lambda var: var.val if isinstance(var, Literal) else env[var]
    for eqn in jaxpr.eqns:
        ins = [read(var) for var in eqn.invars]
        inner = called(eqn)
        if inner is not None and opens(ins):
            outs: Sequence = evaluate(*inner, ins, apply, opens)
        else:
            outs = apply(eqn, ins)
        env.update(zip(eqn.outvars, outs, strict=True))
    return [read(var) for var in jaxpr.outvars]


def called(eqn: Any) -> tuple[Any, Sequence] | None:
    """The trace that an operation calls, and its constants; None if it is not a call."""
    if eqn.primitive.name not in CALLS:
        return None
    inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    # That of a rematerialised function is open: it has no constants.
    return getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
