"""Output distributions against SciPy."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from fsb.networks import (
    BernoulliLikelihood,
    DiscretizedGaussianLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
)

RNG = np.random.default_rng(0)
OUTPUTS = RNG.normal(size=(4, 3, 2, 2)).astype(np.float32)


@pytest.mark.slow
def test_binary_pixels():
    logits, x = OUTPUTS[..., :1], RNG.integers(0, 2, (4, 3, 2))
    found = BernoulliLikelihood().log_prob(jnp.asarray(logits), jnp.float32(x))
    expected = stats.bernoulli.logpmf(x, expit(np.float64(logits[..., 0]))).sum((1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    mean = BernoulliLikelihood().mean(jnp.asarray(logits))
    np.testing.assert_allclose(mean, expit(logits[..., 0]), rtol=1e-5)


def test_gaussian_pixels():
    x = RNG.normal(size=(4, 3, 2)).astype(np.float32)
    loc, scale = np.float64(OUTPUTS[..., 0]), np.exp(np.float64(OUTPUTS[..., 1]) / 2)
    found = GaussianLikelihood().log_prob(jnp.asarray(OUTPUTS), jnp.asarray(x))
    np.testing.assert_allclose(found, stats.norm.logpdf(x, loc, scale).sum((1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(GaussianLikelihood().mean(jnp.asarray(OUTPUTS)), OUTPUTS[..., 0])


@pytest.mark.slow
@pytest.mark.parametrize(("out", "held"), [(-50.0, -7.0), (50.0, 3.0)])
def test_the_log_variance_is_clamped(out, held):
    outputs, x = jnp.float32([[[0.1, out]]]), jnp.float32([[0.3]])
    found, slope = jax.value_and_grad(lambda o: GaussianLikelihood().log_prob(o, x)[0])(outputs)
    assert float(found) == pytest.approx(stats.norm.logpdf(0.3, 0.1, np.exp(held / 2)), rel=1e-4)
    assert float(slope[0, 0, 1]) == 0


@pytest.mark.slow
def test_offsets():
    data_mean = jnp.float32([[0.0, 0.25], [0.9, 1.0]])
    offset = BernoulliLikelihood().offset(data_mean)
    assert offset.shape == (2, 2, 1)
    np.testing.assert_allclose(
        BernoulliLikelihood().mean(offset), [[0.001, 0.25], [0.9, 0.999]], rtol=1e-4
    )
    offset = GaussianLikelihood().offset(data_mean)
    np.testing.assert_array_equal(offset[..., 0], data_mean)
    np.testing.assert_array_equal(offset[..., 1], -3)


# Discretised pixels.

DISCRETIZED = {
    "logistic": (DiscretizedLogisticLikelihood(), stats.logistic),
    "gaussian": (DiscretizedGaussianLikelihood(), stats.norm),
}
LOCATIONS, LOG_SCALES = (-30.0, -0.2, 0.0, 0.1, 0.5003, 1.0, 2.5), (-7.0, -5.0, -3.0, -1.0, 2.9)
GRID = np.array([(m, s) for m in LOCATIONS for s in LOG_SCALES])
LEVELS = (np.arange(256) + 0.5) / 256


def masses_by_hand(dist, location, log_scale):
    """log P(k), [256], in the tail where nothing cancels."""
    edges = (np.arange(1, 256) / 256 - location) / np.exp(log_scale)
    edges = np.concatenate([[-np.inf], edges, [np.inf]])
    low, high = edges[:-1], edges[1:]
    right = low + high > 0
    lower = dist.logcdf(np.where(right, -high, low))
    upper = dist.logcdf(np.where(right, -low, high))
    return upper + np.log1p(-np.exp(lower - upper))


@functools.cache
def at_every_level(name):
    """log P(k) at every location and scale of the grid, and its gradients: [256, grid]."""
    likelihood, _ = DISCRETIZED[name]
    outputs = jnp.broadcast_to(jnp.float32(GRID)[None], (256, *GRID.shape))
    x = jnp.broadcast_to(jnp.float32(LEVELS)[:, None], outputs.shape[:2])
    one = lambda out, x: likelihood.log_prob(out[None, None], x[None, None])[0]
    found = jax.jit(jax.vmap(jax.vmap(jax.value_and_grad(one))))(outputs, x)
    return [np.float64(a) for a in found]


@pytest.mark.slow
@pytest.mark.parametrize("name", DISCRETIZED)
def test_masses_of_the_levels(name):
    found, _ = at_every_level(name)
    expected = np.stack([masses_by_hand(DISCRETIZED[name][1], *at) for at in GRID], 1)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-4)
    np.testing.assert_allclose(np.exp(found).sum(0), 1, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", DISCRETIZED)
def test_slopes_of_the_masses(name):
    _, found = at_every_level(name)
    inside = abs(GRID[:, 1]) < 7  # beyond, the log scale is clamped
    for axis, step in enumerate(1e-4 * np.eye(2)):
        high, low = (
            np.stack([masses_by_hand(DISCRETIZED[name][1], *at) for at in GRID + sign * step], 1)
            for sign in (1, -1)
        )
        expected = (high - low) / 2e-4
        np.testing.assert_allclose(
            found[:, inside, axis], expected[:, inside], rtol=5e-3, atol=2e-2
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", DISCRETIZED)
def test_masses_and_slopes_are_finite_anywhere(name):
    likelihood, _ = DISCRETIZED[name]
    outputs = jnp.float32([[m, s] for m in (-1e6, -50, 0.5, 1e6) for s in (-100, -7, 3, 100)])
    one = lambda out, x: likelihood.log_prob(out[None, None], x.reshape(1, 1))[0]
    at = jax.jit(jax.vmap(jax.value_and_grad(one), (0, None)))
    for x in (0.5 / 256, 100.5 / 256, 255.5 / 256):
        values, slopes = at(outputs, x)
        assert np.isfinite(values).all()
        assert np.isfinite(slopes).all()
        assert (values <= 1e-5).all()
        np.testing.assert_array_equal(slopes[::4, 1], 0)  # clamped
        if x == 100.5 / 256:  # from far out, the location is drawn to an inner bin
            np.testing.assert_array_equal(np.sign(slopes[:8, 0]), 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", DISCRETIZED)
def test_means_of_discretised_pixels(name):
    likelihood, dist = DISCRETIZED[name]
    outputs = jnp.float32(GRID).reshape(1, len(GRID), 2)
    expected = [np.exp(masses_by_hand(dist, *at)) @ LEVELS for at in GRID]
    np.testing.assert_allclose(likelihood.mean(outputs)[0], expected, atol=2e-5)
    offset = likelihood.offset(jnp.float32([0.25]))
    np.testing.assert_array_equal(offset, [[0.25, -1.5]])


@pytest.mark.slow
def test_any_value_of_a_bin_has_the_mass_of_its_level():
    likelihood, outputs = DiscretizedLogisticLikelihood(), jnp.float32([[[0.4, -2.0]]] * 3)
    x = jnp.float32([[100 / 256], [100.5 / 256], [100.99 / 256]])
    found = likelihood.log_prob(outputs, x)
    np.testing.assert_array_equal(found, found[:1].repeat(3))
