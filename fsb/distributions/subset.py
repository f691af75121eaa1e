"""Subsets of k out of N, parameterised by logits."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from fsb.distributions.bernoulli import Bernoulli, noise_dtype
from fsb.distributions.categorical import LARGE
from fsb.errors import FsbError
from fsb.types import Array, Eta, PRNGKey, Units, Vectors

NONE = -1e30  # the log of no way at all: a finite one has derivatives
CERTAIN = 100.0  # a lead in logits that leaves no probability in any dtype
MOST = 1_000_000  # subsets that are listed


@dataclass(frozen=True)
class Selection:
    """What the distributions over the subsets of k elements share."""

    size: int = 1
    reparameterized: ClassVar[bool] = False

    def __post_init__(self):
        if self.size < 1:
            raise FsbError(f"{self}: it must be a positive integer")

    def canonical(self, eta: Vectors) -> Vectors:
        """eta less the k-th largest, within +-1e30: the same probabilities."""
        if eta.shape[-1] < self.size:
            raise FsbError(f"{self}: there are only {eta.shape[-1]} elements")
        return centred(self.size, eta)

    def support(self, eta: Eta) -> Array:
        """All subsets of one unit, in lexical order: [C(N, k), N]."""
        count = eta.shape[-1]
        if math.comb(count, self.size) > MOST:
            raise FsbError(f"{self}: too many subsets of {count} to list")
        chosen = np.array([*itertools.combinations(range(count), self.size)])
        return jnp.asarray(np.eye(count)[chosen].sum(1), eta.dtype)

    def decode(self, z: Vectors) -> Vectors:
        return z


@dataclass(frozen=True)
class Subset(Selection):
    r"""Independent choices of k among N: eta [B, D..., N] are logits, z [B, D..., N] is 0 or 1.

    .. math:: p(z) = \frac{e^{z \cdot \eta}}{e_k(e^{\eta_1}, \ldots, e^{\eta_N})}, \qquad
        \textstyle\sum_i z_i = k,

    N independent Bernoulli units given that k of them are on; e_k is the elementary symmetric
    polynomial. With k = 1 it is ``Categorical``. ``mean`` has the exact probabilities of the
    elements, from a recursion over the N elements with k + 1 numbers each. A logit of +-inf is a
    choice that is made; those that tie at infinity share what is left.

    The derivative of ``mean`` at a draw is the estimator SIMPLE: ``st``.

    Source: Ahmed et al. 2023 (SIMPLE: A Gradient Estimator for k-Subset Sampling),
    arXiv:2210.01941, Propositions 1 and 2; Chen & Liu 1997 (conditional Bernoulli distributions).

    Args:
      size: k, a positive integer.

    Raises:
      FsbError: if ``size`` is less than 1, or more than the number of elements.

    >>> import jax, jax.numpy as jnp
    >>> Subset(2).mean(jnp.array([[[0.0, 0.0, 0.0, jnp.inf]]])).round(4).tolist()
    [[[0.33329999446868896, 0.33329999446868896, 0.33329999446868896, 1.0]]]
    >>> Subset(2).sample(jax.random.key(0), jnp.zeros((1, 1, 5))).sum().item()
    2.0
    """

    def sample(self, key: PRNGKey, eta: Vectors) -> Vectors:
        return self.from_noise(self.noise(key, eta), self.canonical(eta))

    def noise(self, key: PRNGKey, eta: Vectors) -> Vectors:
        """u ~ U(0, 1), one per element."""
        return Bernoulli().noise(key, eta)

    def from_noise(self, u: Vectors, eta: Vectors) -> Vectors:
        """From the last element to the first, each with its probability given those after it."""
        clipped = bounded(self.canonical(eta).astype(u.dtype))
        total, ways = tables(self.size, clipped)

        def choose(state, element):
            left, after = state
            u, eta, before = element
            without = jnp.take_along_axis(before, jnp.maximum(left - 1, 0)[..., None], -1)[..., 0]
            everything = jnp.take_along_axis(after, left[..., None], -1)[..., 0]
            taken = (left > 0) & (u < jnp.exp(eta + without - everything))
            return (left - taken, before), taken

        left = jnp.full(eta.shape[:-1], self.size)
        rows = jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), (u, clipped))
        _, taken = jax.lax.scan(choose, (left, total), (*rows, ways), reverse=True)
        return jnp.moveaxis(taken, 0, -1).astype(eta.dtype)

    def mean(self, eta: Vectors) -> Vectors:
        clipped = bounded(self.canonical(eta).astype(noise_dtype(eta)))
        return marginals(self.size, clipped).astype(eta.dtype)

    def log_prob(self, eta: Vectors, z: Vectors) -> Units:
        wide = self.canonical(eta).astype(noise_dtype(eta))
        top = first(self.size, wide)
        # Beyond what is certain only the first k count, and they cancel.
        rest = log_ways(self.size, bounded(wide)) - (top * bounded(wide)).sum(-1)
        return (((z - top) * wide).sum(-1) - rest).astype(eta.dtype)

    def entropy(self, eta: Vectors) -> Units:
        clipped = bounded(self.canonical(eta).astype(noise_dtype(eta)))
        beyond = marginals(self.size, clipped) - first(self.size, clipped)
        rest = log_ways(self.size, clipped) - (first(self.size, clipped) * clipped).sum(-1)
        return (rest - (beyond * clipped).sum(-1)).astype(eta.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def centred(size: int, eta: Array) -> Array:
    """eta less its k-th largest, which changes no probability, and finite."""
    middle = jax.lax.top_k(eta, size)[0][..., -1:]
    return jnp.clip(jnp.where(eta == middle, 0, eta - middle), -LARGE, LARGE)


@centred.defjvp
def _centred_jvp(size, primals, tangents):
    return centred(size, *primals), tangents[0]


def bounded(eta: Array) -> Array:
    """Centred logits within what is certain, with derivative 0 beyond."""
    return jnp.clip(eta, -CERTAIN, CERTAIN)


def first(size: int, eta: Array) -> Array:
    """The k largest, as zeros and ones."""
    chosen = jax.lax.top_k(jax.lax.stop_gradient(eta), size)[1]
    return jax.nn.one_hot(chosen, eta.shape[-1], dtype=eta.dtype).sum(-2)


def tables(size: int, eta: Array) -> tuple[Array, Array]:
    """log e_j of all elements, [..., k + 1], and of those before each one, [N, ..., k + 1]."""
    start = jnp.full((*eta.shape[:-1], size + 1), NONE, eta.dtype).at[..., 0].set(0)

    def add(ways, eta):
        taken = jnp.concatenate([jnp.full_like(eta, NONE), ways[..., :-1] + eta], -1)
        return jnp.logaddexp(ways, taken), ways

    return jax.lax.scan(add, start, jnp.moveaxis(eta, -1, 0)[..., None])


def log_ways(size: int, eta: Array) -> Array:
    """log e_k(e^eta), whose derivative is the mean."""
    return tables(size, eta)[0][..., -1]


def marginals(size: int, eta: Array) -> Array:
    return jax.grad(lambda eta: log_ways(size, eta).sum())(eta)
