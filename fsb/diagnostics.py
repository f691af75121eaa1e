"""Bias and variance of estimators, measured against the exact gradient."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from fsb.errors import FsbError
from fsb.estimators import exact
from fsb.gradients import init, stateful_value_and_grad, value_and_grad
from fsb.sites import ancestral, bind, replay
from fsb.types import Array, Estimator, Loss, PyTree


def sample_gradients(
    estimator: Estimator,
    loss: Loss,
    params: PyTree,
    key: Array,
    num_samples: int,
    chunk_size: int = 4096,
    fitted: tuple[PyTree, PyTree] | None = None,
) -> PyTree:
    """Independent draws of the gradient estimate.

    Args:
      num_samples: number of draws, each with its own key split from ``key``.
      chunk_size: draws evaluated side by side; the rest of the memory is the result itself.
      fitted: ``(control, state)`` of an estimator that has them, held fixed; fresh ones unless
        given.

    Returns:
      Gradients shaped like the params with a leading axis [num_samples].

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> fsb.sample_gradients(fsb.st(), loss, jnp.zeros((1, 2)), jax.random.key(0), 10).shape
    (10, 1, 2)
    """
    if num_samples < 1 or chunk_size < 1:
        raise FsbError(f"num_samples={num_samples}, chunk_size={chunk_size}: both must be positive")
    if fitted is None:
        fitted = init(estimator, loss, params, jax.random.fold_in(key, 0))
    return _sample_gradients(estimator, loss, params, fitted, key, num_samples, chunk_size)


@functools.partial(jax.jit, static_argnums=(0, 1, 5, 6))
def _sample_gradients(estimator, loss, params, fitted, key, num_samples, chunk_size):
    estimate = stateful_value_and_grad(estimator, loss)
    keys = jax.random.split(key, num_samples)
    return jax.lax.map(lambda k: estimate(params, *fitted, k).params, keys, batch_size=chunk_size)


def exact_gradient(loss: Loss, params: PyTree, max_states: int = 2**16) -> PyTree:
    """The gradient of E[mean of the losses], by enumeration of all sites, any number deep.

    Raises:
      FsbError: if the sites have more than ``max_states`` joint states.

    >>> import jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta)[:, 0]
    >>> fsb.exact_gradient(loss, jnp.zeros((1, 1)))
    Array([[0.25]], dtype=float32)
    """
    return _exact_gradient(loss, params, max_states)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _exact_gradient(loss, params, max_states):
    return value_and_grad(exact(max_states), loss)(params, jax.random.key(0))[1]


def evaluations(estimator: Estimator, loss: Loss, params: PyTree, key: Array) -> int:
    """How often one estimate evaluates the loss, for the whole batch; counted while it runs.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> evaluations(fsb.disarm(), loss, jnp.zeros((1, 3)), jax.random.key(0))
    2
    """
    count = []

    def note(total):
        count.append(1)
        return np.ones_like(total)

    def counted(params, sample):
        losses = loss(params, sample)
        total = jax.lax.stop_gradient(losses.sum())
        one = jax.pure_callback(note, total, total, vmap_method="sequential")
        return losses * one  # value and derivative need it: no transformation leaves it out

    control, state = init(estimator, loss, params, key)

    def value(params):
        return estimator.surrogate(bind(counted, params), control, state, key)[0].mean()

    jax.block_until_ready(jax.jit(jax.value_and_grad(value))(params))
    return len(count)


def mixes_examples(loss: Loss, params: PyTree, key: Array) -> bool:
    """Whether the loss of one example depends on the samples of another, as under BatchNorm.

    Then only local estimators are right: all others take each loss for a function of its own
    samples. Found by spoiling the samples of the first example with NaN.

    >>> import jax, jax.numpy as jnp, fsb
    >>> def loss(eta, sample):
    ...     b = sample("b", fsb.Bernoulli(), eta)
    ...     return (b - b.mean(0, keepdims=True)).sum(-1)
    >>> mixes_examples(loss, jnp.zeros((2, 3)), jax.random.key(0))
    True
    """
    run = bind(loss, params)

    @jax.jit
    def spoiled():
        _, sites = run(ancestral(key))
        return run(replay({site.name: site.z.at[:1].set(jnp.nan) for site in sites}))[0]

    return bool(jnp.isnan(spoiled()[1:]).any())


class Moments(NamedTuple):
    """Of many draws of the gradient, flattened to [P].

    draws: how many.
    mean: [P].
    spread: sum of squared deviations from the mean, [P].
    """

    draws: Array | int
    mean: Array
    spread: Array

    def merge(self, other: Moments) -> Moments:
        """Of both sets of draws together (Chan et al. 1979)."""
        draws = self.draws + other.draws
        shift = other.mean - self.mean
        weight = other.draws / draws
        spread = self.spread + other.spread + shift**2 * self.draws * weight
        return Moments(draws, self.mean + weight * shift, spread)


def moments(
    estimator: Estimator, loss: Loss, chunks: int, chunk_size: int
) -> Callable[[PyTree, tuple[PyTree, PyTree], Array], Moments]:
    """Moments of ``chunks * chunk_size`` draws without keeping them: a function to be compiled.

    Returns:
      ``(params, (control, state), key) -> Moments``. Estimators that draw with the same key see
      the same noise wherever they draw alike: their differences have less error than they.
    """
    estimate = stateful_value_and_grad(estimator, loss)

    def draws(params, fitted, key):
        def one(key):
            # All is made as a train step makes it, what is learned too, so that the time is that
            # of an estimate: behind a barrier, and with a sum that the compiler cannot leave out.
            out = jax.lax.optimization_barrier(estimate(params, *fitted, key))
            nothing = 0 * sum(jnp.nan_to_num(x).sum() for x in jax.tree.leaves(out.control))
            return ravel_pytree(out.params)[0].astype(jnp.float32) + nothing

        def chunk(total, key):
            g = jax.vmap(one)(jax.random.split(key, chunk_size))
            mean = g.mean(0)
            spread = ((g - mean[None]) ** 2).sum(0)
            return total.merge(Moments(jnp.float32(chunk_size), mean, spread)), None

        zero = jnp.zeros(ravel_pytree(params)[0].shape, jnp.float32)
        start = Moments(jnp.float32(0), zero, zero)
        return jax.lax.scan(chunk, start, jax.random.split(key, chunks))[0]

    return draws


@dataclass(frozen=True)
class Quality:
    """How good an estimator is at one point, from batches of draws.

    bias: |E g - reference|, in the units of the gradient: the root of an unbiased estimate of its
      square, 0 where that is negative.
    bias_error: standard error of the bias.
    bias_z: the estimated square in its standard errors; above 4, the bias is real.
    variance: trace of the covariance of g.
    snr: |E g| / sqrt(variance).
    cosine: <E g, reference> / (|reference| sqrt(E |g|^2)): of a single draw, in the mean square.
    """

    bias: float
    bias_error: float
    bias_z: float
    variance: float
    snr: float
    cosine: float


def quality(batches: Sequence[Moments], reference: Array | Sequence[Array]) -> Quality:
    """Bias, variance and the rest from at least three batches of draws.

    Args:
      batches: of equal size, each from its own key.
      reference: the exact gradient [P]; or, where that cannot be had, one for each batch: the means
        of an unbiased estimator over the same keys.

    >>> batches = [Moments(2, jnp.array([m]), jnp.array([0.5])) for m in (0.9, 1.0, 1.1, 1.0)]
    >>> found = quality(batches, jnp.array([1.0]))
    >>> found.bias, round(found.variance, 3)
    (0.0, 0.291)
    """
    means = np.stack([np.asarray(m.mean, np.float64) for m in batches])
    references = np.broadcast_to(np.asarray(reference, np.float64), means.shape)
    error, true = means - references, references.mean(0)
    square, square_error = _square_norm(error)
    square_error = math.hypot(square_error, 1e-10 * float(true @ true))  # float32's own error
    whole = functools.reduce(Moments.merge, batches)
    variance = float(np.asarray(whole.spread, np.float64).sum() / (float(whole.draws) - 1))
    mean = means.mean(0)
    strength = float(np.sqrt(mean @ mean))
    bias = math.sqrt(max(square, 0.0))
    size = float(np.linalg.norm(true)) * math.sqrt(strength**2 + variance)
    return Quality(
        bias=bias,
        bias_error=square_error / (2 * max(bias, math.sqrt(square_error))) if square_error else 0.0,
        bias_z=square / square_error if square_error else 0.0,
        variance=variance,
        snr=strength / math.sqrt(variance) if variance else math.inf,
        cosine=float(mean @ true) / size if size else math.nan,
    )


def _square_norm(errors: np.ndarray) -> tuple[float, float]:
    """|E e|^2 without the bias of its noise, and its standard error by the jackknife, of [K, P]."""
    products, count = errors @ errors.T, len(errors)
    crossed = products.sum() - np.trace(products)
    each = 2 * (products.sum(1) - np.diag(products))  # what leaving one batch out takes away
    left = (crossed - each) / ((count - 1) * (count - 2))
    spread = ((left - left.mean()) ** 2).sum() * (count - 1) / count
    return crossed / (count * (count - 1)), math.sqrt(spread)
