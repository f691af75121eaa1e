"""DisARM for categorical units: a value is reached by binary decisions along a tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli, Categorical
from fsb.estimators._attach import layerwise, weigh
from fsb.estimators.disarm import disarm_weight, of_pair
from fsb.runtime.random import fold_in, split, uniform
from fsb.sites import Site, site_key
from fsb.types import Array, Estimator

Sides = Callable[[Array], tuple[Array, Array]]
Tree = Callable[[Array, Array], tuple[Array, Sides]]
"""``tree(index, eta) -> (log odds, sides)``: the decisions on the way to the value ``index``.

log odds [B, D..., m]: of the side not taken, beside the one taken, at each decision in turn; -inf
where there is no more to decide. ``sides(at)``, both [B, D..., K]: the values on the side taken at
decision ``at`` [B, D..., 1], and those on the other side.
"""


def disarm_tree() -> Estimator:
    r"""DisARM-Tree: an antithetic pair for each decision of a balanced binary tree over K values.

    A decision takes each of its sides with the probability of the values there, and antithetic
    uniform numbers decide twice: once for z and once for z'. Let the two part at a decision with
    the sides S (of z) and S' (of z'), with probabilities s and s' of all the values there and
    :math:`\pi_S`, :math:`\pi_{S'}` the distribution within each. Then

    .. math:: \bar\eta = \tfrac12 (f(z) - f(z')) \,
        \Bigl[e_z - e_{z'} - \frac{\min(s, s')}{s + s'} \, (\pi_S - \pi_{S'})\Bigr],

    and 0 if z = z'. Unbiased, for any tree. For two values it is ``disarm`` of the difference of
    their logits.

    *Proof.* The decisions :math:`b_i` are independent bits with logits
    :math:`\alpha = \log s - \log s'`, so DisARM is unbiased for each logit. Take its mean given z
    and z'. At a decision that both have reached and where they agree, or that neither has reached,
    it is 0. At one that only z has reached, it is :math:`\tfrac12 (f(z) - f(z')) (b_i - p_i)`,
    because the mean of :math:`(b_i - b'_i) \, \sigma(|\alpha_i|)` given :math:`b_i` is
    :math:`b_i - p_i`. Summed over the decisions below S, with the chain rule to the logits, this is
    the score of z within S, :math:`e_z - \pi_S`. The same holds for z' and S'. The decision where
    they part adds :math:`\sigma(|\alpha|) \, (\pi_S - \pi_{S'})`, as
    :math:`\partial \alpha / \partial \eta = \pi_S - \pi_{S'}`.

    Hence it is the mean of DisARM for all the bits, given the pair, and never has more variance.

    Values are the leaves in their given order; with K no power of two, the tree lacks its last
    leaves. Several layers, and Bernoulli sites: as ``disarm``. Costs 1 + L evaluations of the loss,
    one of them differentiated. Examples must be independent (no BatchNorm). Supports Bernoulli and
    Categorical sites.

    Source: Dong, Mnih & Tucker 2021 (Coupled Gradient Estimators for Discrete Latent Variables),
    arXiv:2106.08056.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 4.0 * sample("c", fsb.Categorical(), eta)[:, 0, 0]
    >>> fsb.value_and_grad(fsb.disarm_tree(), loss)(jnp.zeros((1, 1, 2)), jax.random.key(0))[1]
    Array([[[ 1., -1.]]], dtype=float32)
    """
    return _along("disarm_tree", balanced)


def disarm_sb() -> Estimator:
    r"""DisARM-SB: an antithetic pair for each break of a stick.

    ``disarm_tree`` for the tree that asks for one value after the other, in their given order: "is
    it the first? is it the second?". Let m be the lesser and M the greater of z and z', with losses
    :math:`f_m` and :math:`f_M`, and :math:`\pi_{>m}` the distribution within the values behind m.
    Then

    .. math:: \bar\eta = \tfrac12 (f_M - f_m) \,
        \Bigl[e_M - e_m - \min(p, 1 - p) \, (\pi_{>m} - e_m)\Bigr],
        \qquad p = \frac{\pi_m}{\sum_{j \ge m} \pi_j},

    and 0 if z = z'. The order of the values changes the variance, never the mean.

    Unbiased. Several layers, and Bernoulli sites: as ``disarm``. Costs 1 + L evaluations of the
    loss, one of them differentiated. Examples must be independent (no BatchNorm). Supports
    Bernoulli and Categorical sites.

    Source: Dong, Mnih & Tucker 2021 (Coupled Gradient Estimators for Discrete Latent Variables),
    arXiv:2106.08056.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 4.0 * sample("c", fsb.Categorical(), eta)[:, 0, 0]
    >>> fsb.value_and_grad(fsb.disarm_sb(), loss)(jnp.zeros((1, 1, 2)), jax.random.key(0))[1]
    Array([[[ 1., -1.]]], dtype=float32)
    """
    return _along("disarm_sb", stick)


def _along(name: str, tree: Tree) -> Estimator:
    def estimate(site, change, key):
        if isinstance(site.dist, Bernoulli):
            return of_pair(disarm_weight, site, change, key)
        other, weight = partner(site, key, tree)
        return weigh(change(other), weight)

    return layerwise(name, estimate, Bernoulli, Categorical)


def partner(site: Site, key: Array, tree: Tree) -> tuple[Array, Array]:
    """z' given the z of a sampled site, and the estimate over f(z') - f(z): both [B, D..., K]."""
    gumbel: Any = site.noise  # in float32 at least
    eta, lowest = site.eta.astype(gumbel.dtype), jnp.finfo(gumbel.dtype).min
    odds, sides = tree(site.z.argmax(-1, keepdims=True), eta)
    of_decisions, of_values = split(fold_in(site_key(key, site.name), 1), 2)
    # Given a decision of z, the antithetic one differs with the probability of the other side
    # over that of its own.
    parts = uniform(of_decisions, odds.shape, odds.dtype) < jnp.exp(odds)
    parted, at = parts.any(-1, keepdims=True), parts.argmax(-1, keepdims=True)
    own, others = (jnp.where(side, eta, lowest) for side in sides(at))
    fresh = site.dist.from_noise(site.dist.noise(of_values, eta), others)
    other = jnp.where(parted, fresh.astype(site.z.dtype), site.z)
    lesser = jax.nn.sigmoid(-jnp.abs(jnp.take_along_axis(odds, at, -1)))  # min(s, s') / (s + s')
    within = jax.nn.softmax(own) - jax.nn.softmax(others)
    return other, jnp.where(parted, -0.5 * (site.z - other - lesser * within), 0)


def values_of(eta: Array) -> Array:
    """0, ..., K - 1 along the last axis."""
    return jax.lax.broadcasted_iota(int, eta.shape, eta.ndim - 1)


def stick(index: Array, eta: Array) -> tuple[Array, Sides]:
    """One value after the other: K decisions, the last of which is none."""
    value = values_of(eta)
    odds = stick_logits(eta)  # of a break

    def sides(at):
        here, behind = value == at, value > at
        return jnp.where(at < index, behind, here), jnp.where(at < index, here, behind)

    return jnp.where(value < index, odds, jnp.where(value == index, -odds, -jnp.inf)), sides


def stick_logits(eta: Array) -> Array:
    """log pi_k - log sum_{j > k} pi_j, [B, D..., K]; +inf for the last value."""
    tails = jax.lax.cumlogsumexp(eta, eta.ndim - 1, reverse=True)
    none = jnp.full_like(eta[..., :1], -jnp.inf)
    return eta - jnp.concatenate([tails[..., 1:], none], -1)


def balanced(index: Array, eta: Array) -> tuple[Array, Sides]:
    """Halves of halves: as many decisions as the index of the last value has bits."""
    value, depth = values_of(eta), (eta.shape[-1] - 1).bit_length()
    missing = [(0, 0)] * (eta.ndim - 1) + [(0, 2**depth - eta.shape[-1])]
    leaves = jnp.pad(eta, missing, constant_values=-jnp.inf)

    def decision(shift):
        blocks = leaves.reshape(*eta.shape[:-1], -1, 2**shift)
        log_mass = jax.nn.logsumexp(blocks, -1)
        side = index >> shift
        own, other = (jnp.take_along_axis(log_mass, k, -1) for k in (side, side ^ 1))
        return other - own

    def sides(at):
        shift = depth - 1 - at
        return value >> shift == index >> shift, value >> shift == (index >> shift) ^ 1

    decisions = [decision(shift) for shift in reversed(range(depth))]
    none = jnp.full_like(eta[..., :1], -jnp.inf)  # so that one value, too, has a decision
    return jnp.concatenate([*decisions, none], -1), sides
