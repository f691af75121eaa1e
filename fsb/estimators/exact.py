"""Exact expectations by enumeration, the reference for every other estimator."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from fsb.errors import FsbError
from fsb.sites import Site, ancestral, per_example, replay, serve_batch
from fsb.types import Array, Aux, Estimator


def exact(max_states: int = 2**16, states_at_once: int = 1024) -> Estimator:
    r"""The exact expected loss, by enumeration over all sites of all layers.

    .. math:: \mathbb E[f] = \sum_{z_1 \ldots z_L}
        \prod_l p(z_l \mid \eta_l(z_{<l})) \, f(z_1 \ldots z_L),

    computed per example, so examples must be independent (no BatchNorm). Value and gradient have no
    noise. Costs one evaluation of the loss per joint state, K^(units of all layers).

    Args:
      max_states: the largest number of states to enumerate.
      states_at_once: number of states evaluated in parallel.

    Raises:
      FsbError: when first traced, if a site has infinitely many values, if the sites have too many
        states, or if the loss and its sites differ in batch size.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).prod(-1)
    >>> value, grad = fsb.value_and_grad(fsb.exact(), loss)(jnp.zeros((1, 2)), jax.random.key(0))
    >>> value.item(), grad.tolist()
    (0.25, [[0.125, 0.125]])
    """

    def surrogate(run, control, state, key):
        losses, sites = jax.eval_shape(lambda: run(ancestral(key)))
        if not sites:  # nothing is sampled: there is one state
            return run(ancestral(key))[0], Aux(0.0, state, {})
        serve_batch("exact", losses, sites, shared=True)
        values = enumerate_sites(sites, max_states)

        def weighted(values):
            losses, sites = run(replay(values))
            log_prob = sum(per_example(site.dist.log_prob(site.eta, site.z)) for site in sites)
            return jnp.exp(log_prob) * losses

        terms = jax.lax.map(weighted, values, batch_size=states_at_once)
        return terms.sum(0), Aux(0.0, state, {})

    return Estimator(lambda key, sites: ((), ()), surrogate)


def enumerate_sites(sites: tuple[Site, ...], max_states: int) -> dict[str, Array]:
    """All joint values of the sites: name -> [states, B, D...]."""
    supports = [_support(site) for site in sites]
    units = [math.prod(jax.eval_shape(_log_prob, site).shape[1:]) for site in sites]
    states = math.prod(len(s) ** n for s, n in zip(supports, units, strict=True))
    if states > max_states:
        sizes = ", ".join(f"{site.name}: {n} units" for site, n in zip(sites, units, strict=True))
        raise FsbError(
            f"exact: about 10^{math.log10(states):.0f} joint states ({sizes}), "
            f"more than max_states={max_states}; use fewer units or another estimator"
        )
    digits = np.unravel_index(
        np.arange(states),
        [len(s) for s, n in zip(supports, units, strict=True) for _ in range(n)] or [1],
    )
    values, start = {}, 0
    for site, support, n in zip(sites, supports, units, strict=True):
        index = np.stack(digits[start : start + n], -1).astype(np.int32)
        value = support[index].reshape(states, 1, *site.z.shape[1:])
        values[site.name] = jnp.broadcast_to(value, (states, *site.z.shape))
        start += n
    return values


def _support(site: Site) -> Array:
    """The values of one unit, [K] or [K, event]."""
    try:
        support = site.dist.support(site.eta)
    except FsbError as error:
        raise FsbError(f"site {site.name!r}: {error}") from None
    event = site.z.shape[len(jax.eval_shape(_log_prob, site).shape) :]
    if support.shape[1:] != event:
        expected = ", ".join(map(str, ("K", *event)))
        raise FsbError(
            f"site {site.name!r}: {type(site.dist).__name__}.support must return the values along "
            f"the first axis, [{expected}]; got {support.shape}"
        )
    return support


def _log_prob(site: Site) -> Array:
    return site.dist.log_prob(site.eta, site.z)
