"""Finds the kinks of a traced function: jumps of the slope that its second derivative misses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax.extend.core import Literal

from fsb.estimators._tracing.evaluate import called

KINKS = ("relu", "relu6", "leaky_relu", "hard_tanh", "hard_sigmoid")


def kink(jaxpr: Any) -> str | None:
    """The name of an operation on z whose second derivative is 0 except at a jump, if any.

    Functions with a derivative of their own are known by name (``KINKS``) and not looked into.
    A max(x, 0) beside |x| does not count: softplus is written that way.

    >>> import jax, jax.numpy as jnp
    >>> kink(jax.make_jaxpr(lambda z: jnp.maximum(z, 1.0))(0.0).jaxpr)
    'max'
    >>> kink(jax.make_jaxpr(jax.nn.softplus)(0.0).jaxpr)
    """
    return _kink(jaxpr, [True] * len(jaxpr.invars))


def _kink(jaxpr: Any, depends: Sequence[bool]) -> str | None:
    """``kink``, of a trace of which only some arguments depend on z."""
    on_z = {var for var, does in zip(jaxpr.invars, depends, strict=True) if does}
    which = lambda eqn: [not isinstance(v, Literal) and v in on_z for v in eqn.invars]
    absolute = set()
    for eqn in jaxpr.eqns:
        if any(which(eqn)) and eqn.primitive.name != "stop_gradient":
            on_z |= {*eqn.outvars}
            absolute |= {*eqn.invars} if eqn.primitive.name == "abs" else set()
    for eqn in jaxpr.eqns:
        kind, inner, here = eqn.primitive.name, called(eqn), which(eqn)
        if not any(here):
            continue
        if inner is not None:
            traced, _ = inner
            label = str(eqn.params.get("name") or getattr(traced.debug_info, "func_name", ""))
            own = kind.startswith("custom")
            found = label if label in KINKS else None if own else _kink(traced, here)
            if found:
                return found
        elif kind in ("max", "min", "clamp"):
            arguments = {v for v, does in zip(eqn.invars, here, strict=True) if does}
            if not arguments & absolute:
                return kind
    return None
