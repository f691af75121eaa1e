"""ARMS: several mutually antithetic samples for Boolean units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli
from fsb.errors import FsbError
from fsb.estimators._attach import layerwise, weigh
from fsb.runtime.random import fold_in, uniform
from fsb.sites import Site, site_key
from fsb.types import Array, Estimator


def arms(samples: int = 3) -> Estimator:
    r"""ARMS: antithetic REINFORCE with several samples, coupled by a Dirichlet copula.

    For each unit, d ~ Dirichlet(1, ..., 1) of length n gives n negatively correlated uniform
    numbers, :math:`U_i = (1 - d_i)^{n-1}`, and the samples :math:`b_i = [U_i < p]` (with 1 - U_i in
    place of U_i if p >= 1/2). With :math:`P_{11}` the probability that two of them are both high,

    .. math:: \bar\eta = \frac{1}{n - 1} \sum_{i=1}^{n} (f_i - \bar f) (b_i - p)
        \, \frac{p (1 - p)}{p - P_{11}}.

    The last factor corrects leave-one-out REINFORCE for the coupling. Unbiased; with n = 2 it
    equals ``disarm``, sample by sample.

    Several layers: the samples of each layer are coupled given the layers above, and the first of
    them is that of the run; the layers below are resampled with the noise of the run. Costs
    1 + L (n - 1) evaluations of the loss, one of them differentiated. Examples must be independent
    (no BatchNorm). Supports Bernoulli sites.

    Source: Dimitriev & Zhou 2021 (ARMS: Antithetic-REINFORCE-Multi-Sample Gradient for Binary
    Variables), arXiv:2105.14141, section 4.

    Args:
      samples: n >= 2, the number of samples per layer.

    Raises:
      FsbError: if ``samples`` is less than 2.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: (1 + sample("b", fsb.Bernoulli(), eta).sum(-1)) ** 2
    >>> eta, key = jnp.full((4, 3), 0.3), jax.random.key(0)
    >>> pair, coupled = (fsb.value_and_grad(e, loss)(eta, key) for e in (fsb.disarm(), fsb.arms(2)))
    >>> bool(jnp.allclose(pair[1], coupled[1], atol=1e-6))
    True
    """
    if samples < 2:
        raise FsbError(f"arms: samples={samples}: it must be at least 2")

    def estimate(site, change, key):
        return of_companions(site, change, key, samples)

    return layerwise("arms", estimate, Bernoulli)


def of_companions(site: Site, change: Callable[[Array], Array], key: Array, samples: int) -> Array:
    """The estimate at one Boolean site."""
    coupled = companions(site, key, samples)
    changes = changes_of_all(change, coupled)
    return of_coupled(site, changes, jnp.concatenate([site.z[None], coupled]))


def of_coupled(site: Site, changes: Array, z: Array) -> Array:
    """The estimate from changes [n, B] of the losses at coupled values z [n, B, D...]."""
    bits = site.dist.decode(z)
    terms = jax.vmap(weigh)(
        changes - changes.mean(0, keepdims=True), bits - jax.nn.sigmoid(site.eta)[None]
    )
    return terms.sum(0) / (len(z) - 1) * debias(site.eta, len(z))


def changes_of_all(change: Callable[[Array], Array], coupled: Array) -> Array:
    """The changes [n, B] of the losses at all samples, of which the first is the run's."""
    changes = jax.vmap(change)(coupled)
    return jnp.concatenate([jnp.zeros_like(changes[:1]), changes])


def companions(site: Site, key: Array, samples: int) -> Array:
    """n - 1 values [n - 1, B, D...] coupled with the value of a sampled site."""
    own_key = fold_in(site_key(key, site.name), samples)
    others = coupled_noise(site.noise, site.eta, own_key, samples)
    return jax.vmap(site.dist.from_noise, (0, None))(others, site.eta)


def coupled_noise(u: Any, eta: Array, key: Array, samples: int) -> Array:
    """n - 1 uniform numbers [n - 1, ...] coupled with u [...], for bits of logits eta [...].

    Given d_1, the remaining entries are a Dirichlet(1, ..., 1) of length n - 1 scaled by 1 - d_1,
    so the noise of the run can serve as the first uniform number.
    """
    upside_down = eta >= 0
    first = jnp.where(upside_down, 1 - u, u) ** (1 / (samples - 1))  # 1 - d_1
    v = uniform(key, (samples - 1, *u.shape), u.dtype) + 0.5 * jnp.finfo(u.dtype).eps
    rest = -jnp.log(v)
    others = (1 - first[None] * rest / rest.sum(0, keepdims=True)) ** (samples - 1)
    flipped = jnp.where(upside_down[None], 1 - others, others)
    return jnp.minimum(flipped, 1 - jnp.finfo(u.dtype).eps)  # so that p = 1 gives high


def debias(eta: Array, samples: int) -> Array:
    """p (1 - p) / (p - P11), within [1/2, 1].

    Symmetric in p and 1 - p. With m = min(p, 1 - p), cancelling m avoids 0/0.
    """
    m = jax.nn.sigmoid(-jnp.abs(eta))
    return (1 - m) / (1 - second(m, samples))


def second(p: Array, samples: int) -> Array:
    """P11 / p = max(0, 2 - p^(-1/(n-1)))^(n-1), for p <= 1/2: of a second sample given a first."""
    return jnp.maximum(0, 2 - p ** (-1 / (samples - 1))) ** (samples - 1)
