"""Output distributions against SciPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from fsb.networks import BernoulliLikelihood, GaussianLikelihood

RNG = np.random.default_rng(0)
OUTPUTS = RNG.normal(size=(4, 3, 2, 2)).astype(np.float32)


def test_binary_pixels():
    logits, x = OUTPUTS[..., :1], RNG.integers(0, 2, (4, 3, 2))
    found = BernoulliLikelihood().log_prob(jnp.asarray(logits), jnp.float32(x))
    expected = stats.bernoulli.logpmf(x, expit(np.float64(logits[..., 0]))).sum((1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(BernoulliLikelihood().mean(logits), expit(logits[..., 0]), rtol=1e-5)


def test_gaussian_pixels():
    x = RNG.normal(size=(4, 3, 2)).astype(np.float32)
    loc, scale = np.float64(OUTPUTS[..., 0]), np.exp(np.float64(OUTPUTS[..., 1]) / 2)
    found = GaussianLikelihood().log_prob(jnp.asarray(OUTPUTS), x)
    np.testing.assert_allclose(found, stats.norm.logpdf(x, loc, scale).sum((1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(GaussianLikelihood().mean(OUTPUTS), OUTPUTS[..., 0])


@pytest.mark.parametrize(("out", "held"), [(-50.0, -7.0), (50.0, 3.0)])
def test_the_log_variance_is_clamped(out, held):
    outputs, x = jnp.float32([[[0.1, out]]]), jnp.float32([[0.3]])
    found, slope = jax.value_and_grad(lambda o: GaussianLikelihood().log_prob(o, x)[0])(outputs)
    assert float(found) == pytest.approx(stats.norm.logpdf(0.3, 0.1, np.exp(held / 2)), rel=1e-4)
    assert float(slope[0, 0, 1]) == 0


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
