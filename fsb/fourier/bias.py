"""The bias of ST, DARN and FouST, predicted from the loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fsb.distributions import Bernoulli
from fsb.errors import FsbError
from fsb.estimators import foust
from fsb.types import Array


class Bias(NamedTuple):
    """The bias of an estimate of the gradient in the logits, in two parts.

    odd: from the odd powers of the unit, [..., n].
    even: from the even powers, [..., n]; vanishes at p = 1/2 and with importance reweighing.
    """

    odd: Float[Array, "*losses n"]
    even: Float[Array, "*losses n"]

    @property
    def total(self) -> Float[Array, "*losses n"]:
        """The bias, [..., n]."""
        return self.odd + self.even


def predicted_bias(
    f: Callable[[Array], Array],
    eta: Any,
    dist: Bernoulli,
    delta: float = 0.1,
    gamma: float = 1.0,
    importance_reweighing: bool = True,
    scale_mode: Literal["correct", "paper"] = "correct",
    nodes: int = 8,
    max_states: int = 2**16,
) -> Bias:
    r"""The bias of ``foust(delta, gamma, importance_reweighing, scale_mode)`` for one layer.

    ``delta=0`` gives the bias of ``darn()``, and with ``importance_reweighing=False`` that of
    ``st()``. Let f = sum_k c_k x^k in one unit's x = z - m, with m the midpoint of the encoding and
    c_k a function of the other units; a = (high - low)/2, mu = 2p - 1. The corrected Lemma 2 is

    .. math:: \mathrm{bias} = 2 a p (1 - p) \Bigl( \gamma \sum_{k\ \mathrm{odd}}
        w_k E'[c_k] a^{k-1} - \sum_{k\ \mathrm{odd}} E[c_k] a^{k-1}
        + r \gamma \mu \sum_{k\ \mathrm{even}} w_k E'[c_k] a^{k-1} \Bigr),

    with w_k = (1 - (1 - delta)^k)/delta (k for delta = 0, and 1 for delta = 1); r = 0 with
    reweighing, else 1; in the mode "paper" gamma is replaced by gamma / 2a. E' is over the noisy
    values of the other units, E over their hard values. For ST this is sum (k - 1) E[c_k] a^{k-1}
    over odd k plus mu sum k E[c_k] a^{k-1} over even k; the paper's (k - 2) omits the Jacobian and
    the term k = 1.

    The series is not summed: the odd part is the mean slope under p_i -> 1/2 minus the mean
    difference quotient, and the even part is the change of that slope due to p. Exact for every
    differentiable f, by enumeration and Gauss-Legendre quadrature of the noise. Zero for
    deterministic units.

    Args:
      f: z [n], in the encoding of ``dist``, -> [...]: one or several losses.
      eta: logits, [n].
      dist: the encoding, on which the bias depends.
      delta, gamma, importance_reweighing, scale_mode: as in ``foust``.
      nodes: quadrature nodes for each sign of each unit; exact for polynomials of degree below
        2 nodes in every unit. Not used without noise.
      max_states: the largest number of evaluations of f, (2 nodes)^n.

    Returns:
      ``Bias(odd, even)``, [..., n] each, in the precision of ``eta``. Jittable.

    Raises:
      FsbError: if an argument is out of range, or f would be evaluated too often.

    Source: Pervez, Cohen & Gavves 2020 (FouST), https://proceedings.mlr.press/v119/pervez20a.html,
    Lemma 2 and eqs. 12-16, as corrected above.

    >>> import jax.numpy as jnp
    >>> cubic = lambda z: z[0] ** 3 + z[0] ** 2
    >>> bias = predicted_bias(cubic, jnp.zeros(1), Bernoulli(-1.0, 1.0), delta=0.0)
    >>> bias.odd.item(), bias.even.item()  # 2a p(1 - p) (3 - 1), and mu = 0
    (1.0, 0.0)
    """
    foust(delta, gamma, importance_reweighing, scale_mode)  # validates the arguments
    eta = 1.0 * jnp.asarray(eta)
    if eta.ndim != 1:
        raise FsbError(f"eta {eta.shape}: it must be the logits of one layer, [n]")
    choices = 2 * nodes if delta else 2
    if nodes < 1 or choices ** len(eta) > max_states:
        raise FsbError(
            f"nodes={nodes}: f would be evaluated {choices}^{len(eta)} times; "
            f"use at least 1 node and no more than max_states={max_states} allows"
        )

    x, w = np.polynomial.legendre.leggauss(nodes if delta else 1)  # on [-1, 1]
    noisy = np.repeat([-1, 1], len(x)), np.tile(1 - 0.5 * delta * (1 - x), 2), np.tile(0.5 * w, 2)
    hard = np.array([-1, 1]), np.ones(2), np.ones(2)
    scale = gamma if scale_mode == "correct" else gamma / dist.span

    @jax.jit
    def bias(eta):
        slope = jax.jacrev(f)
        quotient = hard[0] / dist.span
        true = _mean(lambda z: jnp.asarray(f(z))[..., None], eta, dist, *hard, own=quotient)
        fair = _mean(slope, eta, dist, *noisy, own=0.5 * noisy[2])
        drawn = fair if importance_reweighing else _mean(slope, eta, dist, *noisy)
        per_logit = dist.span * jax.nn.sigmoid(eta) * jax.nn.sigmoid(-eta)
        per_logit = jnp.broadcast_to(per_logit, fair.shape)
        return Bias(per_logit * (scale * fair - true), per_logit * scale * (drawn - fair))

    return bias(eta)


def _mean(functional, eta, dist, sign, u, weight, own=None):
    """E of ``functional(z)`` [..., n or 1] over the values m + a s u of all units, [..., n].

    sign, u, weight: the choices of a unit and their weight given the sign. For entry i, ``own``
    replaces the probability of unit i's own choice.
    """
    path = np.indices((len(sign),) * len(eta)).reshape(len(eta), -1).T  # [paths, n]
    z = 0.5 * (dist.low + dist.high) + 0.5 * dist.span * (sign * u)[path]
    each = (jax.nn.sigmoid(sign[path] * eta[None]) * weight[path])[:, None, :]
    if own is not None:
        each = jnp.where(np.eye(len(eta), dtype=bool)[None], own[path][:, None, :], each)
    values = jax.vmap(functional)(jnp.asarray(z, eta.dtype))
    each = jnp.broadcast_to(each, (len(path), len(eta), len(eta)))
    return jnp.einsum("si,s...i->...i", each.prod(-1), values)


def taylor_coefficients(
    f: Callable[[Array], Array], z: Any, order: int, centre: float = 0.0
) -> Float[Array, "orders *losses n"]:
    r"""The Taylor coefficients of f in each unit separately, the others held at their values in z.

    .. math:: c_k^{(i)} = \frac{1}{k!} \frac{\partial^k f}{\partial z_i^k}
        \quad\text{at}\quad z_i = \text{centre}, \qquad k = 0 \ldots \text{order}.

    Args:
      f: z [n] -> [...], differentiable ``order`` times.
      z: [n].
      order: order of the last coefficient; each additional order doubles the work.
      centre: the point of expansion; the bias lemmas use the midpoint of the unit's two values.

    Returns:
      [order + 1, ..., n].

    Raises:
      FsbError: if z is not [n] or ``order`` is negative.

    Source: Pervez, Cohen & Gavves 2020 (FouST), https://proceedings.mlr.press/v119/pervez20a.html,
    Lemma 2.

    >>> import jax.numpy as jnp
    >>> taylor_coefficients(lambda z: z[0] ** 2 * z[1] + z[1], jnp.array([5.0, 3.0]), 2).tolist()
    [[3.0, 0.0], [0.0, 26.0], [3.0, 0.0]]
    """
    z = 1.0 * jnp.asarray(z)
    if z.ndim != 1 or order < 0:
        raise FsbError(f"z {z.shape}, order={order}: z must be [n] and order at least 0")

    def derivative(g):
        return lambda t: jax.jvp(g, (t,), (jnp.ones_like(t),))[1]

    def coefficients(unit):
        g, t, found = lambda t: f(z.at[unit].set(t)), jnp.asarray(centre, z.dtype), []
        for k in range(order + 1):
            found.append(g(t) / math.factorial(k))
            g = derivative(g)
        return jnp.stack(found)

    return jax.jit(jax.vmap(coefficients, out_axes=-1))(jnp.arange(len(z)))
