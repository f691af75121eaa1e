"""Local expectation gradients: the loss at every value of every unit."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli, Categorical
from fsb.distributions.bernoulli import bit_variance
from fsb.errors import FsbError
from fsb.estimators._attach import layerwise
from fsb.estimators._tracing.flips import at_flips
from fsb.estimators.average import average
from fsb.estimators.local import softmax_pull
from fsb.sites import Site
from fsb.types import Array, Estimator

CACHE = 2**22  # bytes


def local_expectation(samples: int = 1, memory: int = 2**28) -> Estimator:
    r"""Local expectation gradients: sums out each unit, with the others held at their samples.

    For unit j of a Boolean and of a categorical layer respectively, with v = p (1 - p), the
    probabilities :math:`\pi`, and :math:`F_{jk} = f(z_{-j}, k)` the loss with unit j at value k,

    .. math:: \bar\eta_j = v_j \, (F_{j,high} - F_{j,low}), \qquad
        \bar\eta_j = \pi_j \odot (F_j - \langle \pi_j, F_j \rangle).

    Unbiased, with zero variance for losses that are a sum over units. Also known as Bernoulli and
    categorical stochastic backpropagation (BSB, CSB). All units share one sample z, and f(z) is one
    of the values for each: 1 + d (K - 1) evaluations of the loss for d units of K values, one of
    them differentiated. If z enters the network through an affine map, as is usual, that map is
    computed once for all flips, and a flip only adds the change of its unit.

    Several layers: each layer is flipped given the layers above, and every flip resamples the
    layers below with the noise of the run. This takes one run of everything downstream per flip and
    site, so the cost grows with the square of the depth. The layers above are not evaluated again.

    Examples must be independent (no BatchNorm). Supports Bernoulli and Categorical sites.

    Source: Titsias & Lazaro-Gredilla 2015 (Local expectation gradients), arXiv:1503.01494; "Fourier
    stochastic backpropagation" (submitted to ICLR 2021),
    https://openreview.net/forum?id=vkxGQB9f2Vg, eqs. 17, 18.

    Args:
      samples: S, the number of independent runs to average; the papers use 1, 5 and 10.
      memory: bytes available to flips that are evaluated together; on CPU at most 4 MiB are used.

    Raises:
      FsbError: if an argument is below 1.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 3.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> estimate = fsb.value_and_grad(fsb.local_expectation(), loss)
    >>> estimate(jnp.zeros((1, 2)), jax.random.key(0))[1].tolist()
    [[0.75, 0.75]]
    """
    if samples < 1:
        raise FsbError(f"local_expectation: samples={samples}: it must be at least 1")
    if memory < 1:
        raise FsbError(f"local_expectation: memory={memory}: it must be at least 1 byte")

    def estimate(site, change, key):
        others = other_values(site)
        # On a CPU, blocks of flips that fit in its cache take a quarter of the time.
        most = min(memory, CACHE) if jax.default_backend() == "cpu" else memory
        changes = at_flips(change, site.z, others, most // samples)
        return ESTIMATES[type(site.dist)](site, others, changes)

    one = layerwise("local_expectation", estimate, Bernoulli, Categorical, shared=False)
    return one if samples == 1 else average(one, samples)


def other_values(site: Site) -> Array:
    """The other values of each unit: [units, choices, B, size of a unit]."""
    if isinstance(site.dist, Bernoulli):
        others = site.dist.other(site.z)[None, ..., None]
    else:
        others = jnp.stack([jnp.roll(site.z, k, -1) for k in range(site.z.shape[-1])])[1:]
    batch, size = others.shape[1], others.shape[-1]
    units = math.prod(others.shape[2:-1])
    return jnp.moveaxis(others.reshape(-1, batch, units, size), (0, 1, 2), (1, 2, 0))


def boolean(site: Site, others: Array, changes: Array) -> Array:
    """v (f(high) - f(low)), from the changes [units, 1, B] of f when a unit is flipped."""
    v = bit_variance(site.eta)
    rise = changes[:, 0].T.reshape(site.z.shape) * (1 - 2 * site.dist.decode(site.z))
    return jnp.where(v > 0, v * rise, 0)  # the loss may be infinite at the impossible value


def categorical(site: Site, others: Array, changes: Array) -> Array:
    """The pull-back of F - f(z), which is 0 at the sampled value."""
    table = jnp.where(others > 0, changes[..., None], 0).sum(1)  # [units, B, K]
    p = jax.nn.softmax(site.eta)
    table = jnp.where(p > 0, jnp.moveaxis(table, 0, 1).reshape(site.z.shape), 0)
    return softmax_pull(p, table)


ESTIMATES = {Bernoulli: boolean, Categorical: categorical}
