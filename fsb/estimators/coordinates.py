"""Derivatives of the loss in the value of one continuous site: what Fourier rules are made of.

``continuous`` lifts a rule per family to an estimator. A rule sees the loss as a function f of the
site's value z, [B, D...] -> [B], constant to differentiation in all else; what is below the site is
redrawn with the noise of the run. Draws below that are smooth in their parameters pass the
derivative on. All others are held, and weighed by p(draw) over itself as a constant, whose
derivatives of every order are those of the distribution (DiCE: Foerster et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.jet import jet
from jax.extend.core import Literal

from fsb.distributions import Dirac, Laplace, MultivariateNormal, Normal
from fsb.errors import FsbError
from fsb.estimators._tracing.flip_rules import bind
from fsb.estimators._tracing.flips import CALLS
from fsb.estimators.attach import attach_all
from fsb.sites import Site, ancestral, frozen, per_example, serve_all, site_key
from fsb.types import Array, Aux, Estimator, Eta, Run

Function = Callable[[Array], Array]
Estimate = Callable[[Site, "Trace", Array], tuple[Eta, dict[str, Array]]]
"""``estimate(site, f, key) -> (g, metrics)``, the key for noise of its own."""

Rules = Mapping[type, tuple[int, Estimate]]
"""By family: the highest order of the derivatives in z that the rule takes, and the rule."""

NESTED = 4  # orders up to which forward derivatives are nested; their code doubles with each
SMOOTH = (Normal, Laplace, MultivariateNormal, Dirac)  # draws with derivatives of any order
KINKS = ("relu", "relu6", "leaky_relu", "hard_tanh", "hard_sigmoid")


def continuous(name: str, rules: Rules) -> Estimator:
    """One plain run, and at each site an estimate from the derivatives of f.

    Args:
      name: of the estimator, for error messages.
      rules: for each family that it serves, subclasses included.
    """

    def init(key, sites):
        serve_all(name, sites, *rules)
        return (), ()

    def surrogate(run, control, state, key):
        losses, sites = run(frozen(ancestral(key)))
        found: list[Eta] = []
        metrics: dict[str, Array] = {}
        for i, site in enumerate(sites):
            order, rule = next(rules[kind] for kind in rules if isinstance(site.dist, kind))
            f = Trace(loss_below(run, sites, i, key, order))
            try:
                g, notes = rule(constant(site), f, jax.random.fold_in(site_key(key, site.name), 1))
            except FsbError as error:
                raise FsbError(f"site {site.name!r}: {error}") from None
            found.append(g)
            metrics |= {f"{site.name}_{k}": v for k, v in notes.items()}
        return attach_all(losses, sites, found), Aux(0.0, state, metrics)

    return Estimator(init, surrogate)


def constant(site: Site) -> Site:
    return jax.tree.map(jax.lax.stop_gradient, site)


def loss_below(run: Run, sites: Sequence[Site], layer: int, key: Array, order: int) -> Any:
    """A trace of f: the losses [B] in z of one site, those above held and those below redrawn."""
    held = {site.name: site.z for site in sites[:layer]}

    def f(z):
        log_p = []

        def sampler(name, dist, eta):
            if name == sites[layer].name:
                return Site(name, dist, eta, z, z)
            if name in held:
                return Site(name, dist, eta, held[name], held[name])
            passes = isinstance(dist, SMOOTH) or (dist.reparameterized and order == 1)
            drawn = ancestral(key)(name, dist, eta if passes else jax.lax.stop_gradient(eta))
            if not passes:
                log_p.append(per_example(dist.log_prob(eta, drawn.z)))
            return replace(drawn, eta=eta, drawn=False)

        losses, _ = run(sampler)
        total = sum(log_p, jnp.zeros_like(losses))
        return losses * jnp.exp(total - jax.lax.stop_gradient(total))

    return jax.make_jaxpr(f)(sites[layer].z)


class Trace:
    """A function of z from its trace, constant to differentiation in all but z."""

    def __init__(self, closed: Any):
        self.jaxpr = closed.jaxpr
        self.consts = jax.lax.stop_gradient(closed.consts)

    def __call__(self, z: Array) -> Array:
        return evaluate(self.jaxpr, self.consts, [z])[0]


def evaluate(jaxpr: Any, consts: Sequence, args: Sequence, inline: bool = False) -> list:
    """The results of a trace; with ``inline``, calls and derivatives of their own are opened."""
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    read = lambda var: var.val if isinstance(var, Literal) else env[var]
    for eqn in jaxpr.eqns:
        ins = [read(var) for var in eqn.invars]
        inner = called(eqn) if inline else None
        if inner is None:
            outs = bind(eqn, ins)
        else:
            consts = getattr(inner, "consts", ())
            outs = evaluate(getattr(inner, "jaxpr", inner), consts, ins, inline)
        env.update(zip(eqn.outvars, outs, strict=True))
    return [read(var) for var in jaxpr.outvars]


def called(eqn: Any) -> Any:
    """The trace that an operation calls, if it is a call."""
    if eqn.primitive.name not in CALLS.split():
        return None
    return eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))


def kink(jaxpr: Any) -> str | None:
    """The name of an operation on z whose second derivative is 0 but for a jump, if there is one.

    Not what stands in a function with a derivative of its own, nor max(x, 0) beside |x|, which is
    how softplus is written.
    """
    return _kink(jaxpr, [True] * len(jaxpr.invars))


def _kink(jaxpr: Any, moves: Sequence[bool]) -> str | None:
    moving = {var for var, does in zip(jaxpr.invars, moves, strict=True) if does}
    moved = lambda eqn: [not isinstance(v, Literal) and v in moving for v in eqn.invars]
    absolute = set()
    for eqn in jaxpr.eqns:
        if any(moved(eqn)) and eqn.primitive.name != "stop_gradient":
            moving |= {*eqn.outvars}
            absolute |= {*eqn.invars} if eqn.primitive.name == "abs" else set()
    for eqn in jaxpr.eqns:
        kind, inner, here = eqn.primitive.name, called(eqn), moved(eqn)
        if not any(here):
            continue
        if inner is not None:
            traced = getattr(inner, "jaxpr", inner)
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


def derivatives(f: Function, z: Array, direction: Array, order: int) -> Array:
    """d^n f(z + t direction) / dt^n at t = 0 for n = 1 .. order, [order, ...].

    By nested forward derivatives up to order 4, by Taylor series beyond.

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
    plain = lambda z: evaluate(closed.jaxpr, closed.consts, [z], inline=True)[0]
    rest = [jnp.zeros_like(z)] * (order - 1)
    try:
        return jnp.stack(jet(plain, (z,), ([direction, *rest],))[1])
    except (KeyError, NotImplementedError) as error:
        raise FsbError(f"no derivative of order {order} is known of {error}") from None


def forward(f: Function, direction: Array) -> Function:
    return lambda z: jax.jvp(f, (z,), (direction,))[1]


def along(f: Function, z: Array, moves: Array, shift: Array, order: int, side: int) -> Array:
    """Derivatives of f at z + m shift along m, for each move m [M, 1, D...]: [M, order, B].

    side: moves evaluated side by side.
    """

    def one(move):
        return derivatives(f, z + move * shift, jnp.broadcast_to(move, z.shape), order)

    return jax.lax.map(one, moves, batch_size=side)


def coordinates(
    f: Function, z: Array, shift: Array, order: int, separable: bool, side: int
) -> Array:
    """d^n f / dz_j^n at z + shift_j e_j, for every coordinate j by itself: [order, B, D...].

    f is evaluated at one moved coordinate at a time. If it is ``separable``, a sum over the
    coordinates, one pass with all of them moved serves.

    >>> f = lambda z: (z**2).sum(-1)
    >>> z = jnp.array([[1.0, 3.0]])
    >>> coordinates(f, z, 0 * z, 2, False, 8).tolist()
    [[[2.0, 6.0]], [[2.0, 2.0]]]
    """
    if separable:
        slope = jax.grad(lambda z: f(z).sum())
        first = slope(z + shift)[None]
        if order == 1:
            return first
        return jnp.concatenate([first, derivatives(slope, z + shift, jnp.ones_like(z), order - 1)])
    units = math.prod(z.shape[1:])
    moves = jnp.eye(units, dtype=z.dtype).reshape(units, 1, *z.shape[1:])
    found = along(f, z, moves, shift, order, side)  # [U, order, B]
    return jnp.moveaxis(found, 0, -1).reshape(order, *z.shape)


def gradient(f: Function, z: Array) -> Array:
    """f'(z) in all coordinates from one pass, [B, D...]."""
    return jax.grad(lambda z: f(z).sum())(z)


def pull(parameters: Callable[[Eta], Any], eta: Eta, g: Any) -> Eta:
    """From the derivative in a family's parameters to that in its eta."""
    return jax.vjp(parameters, eta)[1](g)[0]
