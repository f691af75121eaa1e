"""Bias and variance of estimators, measured against the exact gradient."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from fsb.constraints import checked_losses
from fsb.errors import FsbError
from fsb.estimators import exact
from fsb.gradients import init, stateful_value_and_grad, value_and_grad
from fsb.runtime.trees import arrays, call
from fsb.sites import ancestral, bind, replay
from fsb.types import Array, Estimator, Loss, PRNGKey, PyTree


def sample_gradients(
    estimator: Estimator,
    loss: Loss,
    params: PyTree,
    key: PRNGKey,
    num_samples: int,
    chunk_size: int = 4096,
    fitted: tuple[PyTree, PyTree] | None = None,
) -> PyTree:
    """Draws independent samples of the gradient estimate.

    Args:
      num_samples: number of samples, each with its own key split from ``key``.
      chunk_size: samples evaluated in parallel, to bound the memory.
      fitted: ``(control, state)`` of the estimator, held fixed; freshly initialised by default.

    Returns:
      Gradients shaped like the params, with a leading axis [num_samples].

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> fsb.sample_gradients(fsb.st(), loss, jnp.zeros((1, 2)), jax.random.key(0), 10).shape
    (10, 1, 2)
    """
    if num_samples < 1 or chunk_size < 1:
        raise FsbError(f"num_samples={num_samples}, chunk_size={chunk_size}: both must be positive")
    if fitted is None:
        fitted = init(estimator, loss, params, jax.random.fold_in(key, 0))
    leaves, rebuild = arrays(params)

    def draws(leaves, fitted, key):
        estimate, params = stateful_value_and_grad(estimator, loss), rebuild(leaves)
        keys = jax.random.split(key, num_samples)
        one = lambda key: estimate(params, *fitted, key).params
        return jax.lax.map(one, keys, batch_size=chunk_size)

    return call(draws, leaves, fitted, key)


def exact_gradient(loss: Loss, params: PyTree, max_states: int = 2**16) -> PyTree:
    """The exact gradient of the expected mean loss, by enumeration over all sites of all layers.

    Raises:
      FsbError: if the sites have more than ``max_states`` joint states.

    >>> import jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta)[:, 0]
    >>> fsb.exact_gradient(loss, jnp.zeros((1, 1)))
    Array([[0.25]], dtype=float32)
    """
    leaves, rebuild = arrays(params)
    estimate = value_and_grad(exact(max_states), loss)
    return call(lambda leaves: estimate(rebuild(leaves), jax.random.key(0))[1], leaves)


def evaluations(estimator: Estimator, loss: Loss, params: PyTree, key: PRNGKey) -> int:
    """Counts, at run time, how often one estimate evaluates the loss on the whole batch.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> evaluations(fsb.disarm(), loss, jnp.zeros((1, 3)), jax.random.key(0))
    2
    """
    count = []

    def increment(total):
        count.append(1)
        return np.ones_like(total)

    def counted(params, sample):
        losses = checked_losses(loss(params, sample))
        total = jax.lax.stop_gradient(losses.sum())
        one = jax.pure_callback(increment, total, total, vmap_method="sequential")
        return losses * one  # both value and derivative depend on it, so it is never elided

    control, state = init(estimator, loss, params, key)

    def value(params):
        return estimator.surrogate(bind(counted, params), control, state, key)[0].mean()

    jax.block_until_ready(jax.jit(jax.value_and_grad(value))(params))
    return len(count)


def mixes_examples(loss: Loss, params: PyTree, key: PRNGKey) -> bool:
    """Whether the loss of one example depends on the samples of another, as with BatchNorm.

    If so, only local estimators are valid: all others assume that each loss is a function of its
    own samples. Tested by setting the samples of the first example to NaN.

    >>> import jax, jax.numpy as jnp, fsb
    >>> def loss(eta, sample):
    ...     b = sample("b", fsb.Bernoulli(), eta)
    ...     return (b - b.mean(0, keepdims=True)).sum(-1)
    >>> mixes_examples(loss, jnp.zeros((2, 3)), jax.random.key(0))
    True
    """
    run = bind(loss, params)

    @jax.jit
    def with_nan():
        _, sites = run(ancestral(key))
        return run(replay({site.name: site.z.at[:1].set(jnp.nan) for site in sites}))[0]

    return bool(jnp.isnan(with_nan()[1:]).any())


class GradientMoments(NamedTuple):
    """Sample moments of the gradient estimate, flattened to [P].

    draws: number of samples.
    mean: [P].
    squared_deviations: sum of squared deviations from the mean, [P].
    """

    draws: Array | int
    mean: Array
    squared_deviations: Array

    def merge(self, other: GradientMoments) -> GradientMoments:
        """The moments of both sets together (Chan et al. 1982, doi:10.1007/978-3-642-51461-6_3)."""
        draws = self.draws + other.draws
        shift = other.mean - self.mean
        weight = other.draws / draws
        squares = self.squared_deviations + other.squared_deviations
        squares += shift**2 * self.draws * weight
        return GradientMoments(draws, self.mean + weight * shift, squares)


def gradient_moments(
    estimator: Estimator, loss: Loss, chunks: int, chunk_size: int
) -> Callable[[PyTree, tuple[PyTree, PyTree], PRNGKey], GradientMoments]:
    """Builds a jittable function for the moments of ``chunks * chunk_size`` gradient samples.

    Returns:
      ``(params, (control, state), key) -> GradientMoments``. With the same key, estimators share
      their noise where they sample alike, which reduces the error of their differences.
    """
    estimate = stateful_value_and_grad(estimator, loss)

    def draws(params, fitted, key):
        def one(key):
            # Compute the control gradients too, as a train step does, so that timings are those of
            # a whole estimate; the barrier and the sum keep the compiler from removing them.
            out = jax.lax.optimization_barrier(estimate(params, *fitted, key))
            nothing = 0 * sum(jnp.nan_to_num(x).sum() for x in jax.tree.leaves(out.control))
            return ravel_pytree(out.params)[0].astype(jnp.float32) + nothing

        def chunk(total, key):
            g = jax.vmap(one)(jax.random.split(key, chunk_size))
            mean = g.mean(0)
            squares = ((g - mean[None]) ** 2).sum(0)
            return total.merge(GradientMoments(jnp.float32(chunk_size), mean, squares)), None

        zero = jnp.zeros(ravel_pytree(params)[0].shape, jnp.float32)
        start = GradientMoments(jnp.float32(0), zero, zero)
        return jax.lax.scan(chunk, start, jax.random.split(key, chunks))[0]

    return draws


@dataclass(frozen=True)
class Quality:
    """Measures of an estimator's quality at one point, from batches of samples.

    bias: |E g - reference|, in the units of the gradient: the root of an unbiased estimate of its
      square, or 0 if that is negative.
    bias_error: standard error of the bias.
    bias_z: the estimated square divided by its standard error; above 4 the bias is significant.
    variance: trace of the covariance of g.
    snr: |E g| / sqrt(variance).
    cosine: <E g, reference> / (|reference| sqrt(E |g|^2)), for a single sample.
    """

    bias: float
    bias_error: float
    bias_z: float
    variance: float
    snr: float
    cosine: float


def quality(batches: Sequence[GradientMoments], reference: Any) -> Quality:
    """Computes bias, variance and related measures from at least three batches of samples.

    Args:
      batches: batches of equal size, each from its own key.
      reference: the exact gradient [P]; or, if it is not available, one reference per batch: the
        means of an unbiased estimator over the same keys.

    >>> def batch(mean):
    ...     return GradientMoments(2, jnp.array([mean]), jnp.array([0.5]))
    >>> found = quality([batch(m) for m in (0.9, 1.0, 1.1, 1.0)], jnp.array([1.0]))
    >>> found.bias, round(found.variance, 3)
    (0.0, 0.291)
    """
    means = np.stack([np.asarray(m.mean, np.float64) for m in batches])
    references = np.broadcast_to(np.asarray(reference, np.float64), means.shape)
    error, true = means - references, references.mean(0)
    square, square_error = _square_norm(error)
    square_error = math.hypot(square_error, 1e-10 * float(true @ true))  # float32 rounding
    whole = functools.reduce(GradientMoments.merge, batches)
    squares = np.asarray(whole.squared_deviations, np.float64)
    variance = float(squares.sum() / (float(whole.draws) - 1))
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
    """An unbiased estimate of |E e|^2 from [K, P], and its jackknife standard error."""
    products, count = errors @ errors.T, len(errors)
    crossed = products.sum() - np.trace(products)
    each = 2 * (products.sum(1) - np.diag(products))  # terms that involve each batch
    left = (crossed - each) / ((count - 1) * (count - 2))
    variance = ((left - left.mean()) ** 2).sum() * (count - 1) / count
    return crossed / (count * (count - 1)), math.sqrt(variance)
