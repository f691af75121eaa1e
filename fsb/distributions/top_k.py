"""k of N elements drawn one after the other, parameterised by logits."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import logsumexp

from fsb.distributions.bernoulli import noise_dtype
from fsb.distributions.categorical import LARGE, Categorical, flat_softmax
from fsb.distributions.subset import CERTAIN, NONE, Selection, first
from fsb.errors import FsbError
from fsb.types import Array, PRNGKey, Units, Vectors

LONGEST = 12  # elements whose orders are summed over, in 2^k steps


@dataclass(frozen=True)
class TopK(Selection):
    r"""k of N elements, drawn one by one: eta [B, D..., N] are logits, z [B, D..., N] is 0 or 1.

    .. math:: p(z) = \sum_{i_1, \ldots, i_k} \prod_{j=1}^k
        \frac{w_{i_j}}{\sum_i w_i - w_{i_1} - \ldots - w_{i_{j-1}}}, \qquad w = e^\eta,

    over all the orders of the k elements of z: each is drawn from those that are left, with
    probabilities in proportion to their weights w (Plackett-Luce). So drawn are the k largest of
    eta + Gumbel noise. With k = 1 it is ``Categorical``. ``Subset``, the other distribution of k
    elements, is independent units given their number. A logit of +-inf is a choice that is made;
    those that tie at infinity share what is left.

    ``log_prob`` sums over the orders in 2^k steps, and takes z as the set of its k largest: it has
    no derivative in z. ``mean`` and ``entropy`` go through all subsets.

    The relaxation ``soften``, for ``gumbel_softmax``: k softmax functions, each after the elements
    that the one before took were made less likely. It sums to k and tends to the draw as the
    temperature tends to 0. Else an entry may exceed 1, most where few elements lead by far.

    Source: Kool, van Hoof & Welling 2019 (Stochastic Beams and Where to Find Them),
    arXiv:1903.06059; the relaxation: Xie & Ermon 2019 (Reparameterizable Subset Sampling
    via Continuous Relaxations), arXiv:1901.10517.

    Args:
      size: k, a positive integer.

    Raises:
      FsbError: if ``size`` is less than 1, or more than the number of elements; by ``log_prob``,
        ``mean`` and ``entropy`` if it is above 12; by the last two if the subsets are too many.

    >>> import jax, jax.numpy as jnp
    >>> eta, z = jnp.log(jnp.array([[[1.0, 2.0, 3.0]]])), jnp.array([[[0.0, 1.0, 1.0]]])
    >>> bool(abs(jnp.exp(TopK(2).log_prob(eta, z)) - (2 / 6 * 3 / 4 + 3 / 6 * 2 / 3)) < 1e-6)
    True
    >>> TopK(2).sample(jax.random.key(0), jnp.zeros((1, 1, 5))).sum().item()
    2.0
    """

    def sample(self, key: PRNGKey, eta: Vectors) -> Vectors:
        return self.from_noise(self.noise(key, eta), eta)

    def noise(self, key: PRNGKey, eta: Vectors) -> Vectors:
        """Gumbel noise, one per element: [B, D..., N]."""
        return Categorical().noise(key, eta)

    def from_noise(self, gumbel: Vectors, eta: Vectors) -> Vectors:
        """The k largest of eta + noise: an exact sample."""
        return first(self.size, self.perturb(gumbel, eta)).astype(eta.dtype)

    def perturb(self, gumbel: Vectors, eta: Vectors) -> Vectors:
        """zeta = eta + noise, with eta in canonical form; the k largest are the draw.

        A lead over the k-th largest logit counts as 100 at most. That is certain, and does not
        round off the noise, which orders those that tie at infinity.
        """
        return jnp.minimum(self.canonical(eta).astype(gumbel.dtype), CERTAIN) + gumbel

    def soften(self, zeta: Vectors, temperature: Array | float) -> Vectors:
        r"""a_1 + ... + a_k, a_j = softmax(alpha_j / temperature).

        alpha_1 = zeta and alpha_{j+1} = alpha_j + log(1 - a_j).
        """

        def draw_another(_, state):
            alpha, z = state
            alpha = jnp.clip(alpha + log_left(alpha, temperature), -LARGE, LARGE)
            return alpha, z + likely(alpha, temperature)

        state = zeta, likely(zeta, temperature)
        return jax.lax.fori_loop(1, self.size, draw_another, state)[1]

    def mean(self, eta: Vectors) -> Vectors:
        p = jnp.exp(self.enumerated(eta)) @ self.support(eta).astype(noise_dtype(eta))
        return p.astype(eta.dtype)

    def log_prob(self, eta: Vectors, z: Vectors) -> Units:
        wide = self.canonical(eta).astype(noise_dtype(eta))
        drawn = jnp.take_along_axis(wide, jax.lax.top_k(z, self.size)[1], -1)
        others = logsumexp(jnp.where(first(self.size, z) > 0, NONE, wide), -1, keepdims=True)
        return self.log_sets(jnp.concatenate([drawn, others], -1), self.size)[..., 0].astype(
            eta.dtype
        )

    def entropy(self, eta: Vectors) -> Units:
        log = self.enumerated(eta)
        return -(jnp.exp(log) * log).sum(-1).astype(eta.dtype)

    def enumerated(self, eta: Array) -> Array:
        """The log-probability of every subset, [B, D..., C(N, k)]."""
        self.support(eta)  # refuses too many
        return self.log_sets(self.canonical(eta).astype(noise_dtype(eta)), eta.shape[-1])

    def log_sets(self, eta: Array, count: int) -> Array:
        """Log-probabilities of all sets of k among the first elements, in lexical order.

        That of a set is the sum over the element drawn last: first all others, then this one.
        """
        if self.size > LONGEST:
            raise FsbError(
                f"{self}: the probability of more than {LONGEST} elements has too many orders of "
                f"drawing; use Subset({self.size}), whose log_prob is cheap at any size, or a "
                "local estimator such as gumbel_softmax, which needs no log_prob"
            )
        taken, before, last = orders(eta.shape[-1], count, self.size)
        # A softmax of what is left keeps ties at 1e30, which a difference of sums does not.
        steps = jax.nn.log_softmax(jnp.where(taken, NONE, eta[..., None, :]))
        steps = steps.reshape(*eta.shape[:-1], -1)[..., last]
        real = np.tri(self.size, dtype=bool)[:, None]  # j ways to a set of j elements

        def add(log, step):
            before, way = step
            return logsumexp(log[..., before] + way, -1), None

        steps = jnp.moveaxis(jnp.where(real, steps, -jnp.inf), -3, 0)
        start = jnp.zeros((*eta.shape[:-1], before.shape[1]), eta.dtype)
        return jax.lax.scan(add, start, (before, steps))[0][..., : math.comb(count, self.size)]


@functools.cache
def orders(width: int, count: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sets of fewer than k among the first ``count`` of ``width`` elements, and how they grow.

    The sets by their elements, [sets, width], smaller ones first; and for 1, ..., k elements the
    ways to each set of so many, [k, most, k] twice: the number of the set before among those of its
    size, and the position of this set and the element drawn last in [sets, width].
    """
    most = max(math.comb(count, length) for length in range(1, size + 1))
    before, last = np.zeros((2, size, most, size), np.int32)
    taken: list[tuple[int, ...]] = []
    smaller: list[tuple[int, ...]] = [()]
    for length in range(1, size + 1):
        larger = [*itertools.combinations(range(count), length)]
        rank = {chosen: i for i, chosen in enumerate(smaller)}
        rows = np.array([[rank[s[:i] + s[i + 1 :]] for i in range(length)] for s in larger])
        before[length - 1, : len(larger), :length] = rows
        last[length - 1, : len(larger), :length] = (rows + len(taken)) * width + np.array(larger)
        taken += smaller
        smaller = larger
    chosen = np.zeros((len(taken), width), bool)
    for row, elements in zip(chosen, taken, strict=True):
        row[[*elements]] = True
    return chosen, before, last


def likely(alpha: Array, temperature: Array | float) -> Array:
    """softmax(alpha / temperature); its largest argument is exactly 0 however XLA rounds."""
    return flat_softmax((alpha - highest(alpha)) / temperature)


def log_left(alpha: Array, temperature: Array | float) -> Array:
    """log(1 - softmax(alpha / temperature)), also where the softmax is 1 up to rounding."""
    top = jax.nn.one_hot(jnp.argmax(alpha, -1), alpha.shape[-1], dtype=bool)
    rest = jnp.where(top, -jnp.inf, alpha)
    best, second = highest(alpha), highest(rest)
    log_sum = lambda x: jnp.log(jnp.exp(x / temperature).sum(-1, keepdims=True))
    of_top = (second - best) / temperature + log_sum(rest - second) - log_sum(alpha - best)
    return jnp.where(top, of_top, jnp.log1p(-jnp.where(top, 0, likely(alpha, temperature))))


def highest(alpha: Array) -> Array:
    return jax.lax.stop_gradient(alpha.max(-1, keepdims=True))
