"""Units with K values."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.special import log_softmax, softmax

from fsb.distributions.categorical import Categorical

LOGITS = np.array([[0.0, 1.0, -2.0, 0.5], [3.0, 3.0, 3.0, 3.0]])  # the second: all tied
EXTREME = np.float32([[1000, -1000, 0], [-1000, -1000, -1000], [1000, 1000, -1000]])
DIST = Categorical()


@pytest.mark.slow
def test_frequencies(key):
    count = 200_000
    z = np.asarray(DIST.sample(key, jnp.broadcast_to(jnp.float32(LOGITS)[None], (count, 2, 4))))
    assert set(np.unique(z)) == {0, 1}
    np.testing.assert_array_equal(z.sum(-1), 1)
    p = softmax(LOGITS, -1)
    assert (abs(z.mean(0) - p) < 4 * np.sqrt(p * (1 - p) / count)).all()


@pytest.mark.slow
def test_values_in_double_precision():
    with jax.enable_x64(True):
        eta = jnp.asarray(LOGITS)
        p = softmax(LOGITS, -1)
        np.testing.assert_allclose(DIST.mean(eta), p)
        np.testing.assert_allclose(DIST.entropy(eta), stats.entropy(p.T))
        one_hot = DIST.support(eta)
        assert one_hot.tolist() == np.eye(4).tolist()
        every = jnp.broadcast_to(one_hot[:, None], (4, 2, 4))
        found = DIST.log_prob(jnp.broadcast_to(eta[None], every.shape), every)
        assert found.shape == (4, 2)
        np.testing.assert_allclose(found, log_softmax(LOGITS, -1).T)


@pytest.mark.slow
def test_derivatives():
    """d log p(k) = onehot(k) - p; d H_k = -p_k (log p_k + H)."""
    with jax.enable_x64(True):
        eta, p = jnp.asarray(LOGITS[0]), softmax(LOGITS[0])
        for k in range(4):
            z = jnp.eye(4)[k]
            np.testing.assert_allclose(
                jax.grad(DIST.log_prob)(eta, z), np.eye(4)[k] - p, atol=1e-12
            )
        expected = -p * (np.log(p) + stats.entropy(p))
        np.testing.assert_allclose(jax.grad(DIST.entropy)(eta), expected, atol=1e-12)
        relaxed = jnp.asarray([0.1, 0.2, 0.3, 0.4])
        slope = jax.grad(DIST.log_prob, 1)(eta, relaxed)
        np.testing.assert_allclose(slope, log_softmax(LOGITS[0]))


@pytest.mark.slow
def test_all_is_finite_at_large_logits(key):
    eta = jnp.asarray(EXTREME)
    z = DIST.sample(key, eta)
    found = [DIST.mean(eta), DIST.entropy(eta), DIST.log_prob(eta, z)]
    found.append(jax.grad(lambda eta: DIST.log_prob(eta, z).sum())(eta))
    found.append(jax.grad(lambda eta: DIST.entropy(eta).sum())(eta))
    for leaf in found:
        assert np.isfinite(leaf).all()
    np.testing.assert_allclose(DIST.mean(eta).sum(-1), 1)
    np.testing.assert_allclose(DIST.entropy(eta), np.log([1, 3, 2]), atol=1e-6)


@pytest.mark.slow
def test_certain_and_tied_values(key):
    eta = jnp.broadcast_to(jnp.asarray(EXTREME)[None], (40_000, 3, 3))
    frequencies = np.asarray(DIST.sample(key, eta)).mean(0)
    assert frequencies[0].tolist() == [1, 0, 0]
    assert abs(frequencies[1] - 1 / 3).max() < 0.01
    assert abs(frequencies[2] - [0.5, 0.5, 0]).max() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_results_have_the_dtype_of_the_logits(dtype, key):
    with jax.enable_x64(dtype == "float64"):
        eta = jnp.asarray(LOGITS, dtype)
        z = DIST.sample(key, eta)
        for found in (z, DIST.mean(eta), DIST.entropy(eta), DIST.log_prob(eta, z), DIST.decode(z)):
            assert found.dtype == dtype


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(eta=arrays(np.float32, (5,), elements=st.floats(-80, 80, width=32)))
def test_properties(eta):
    eta = jnp.asarray(eta)
    log_p = np.asarray(DIST.log_prob(jnp.broadcast_to(eta[None], (5, 5)), jnp.eye(5)), np.float64)
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(np.exp(log_p), DIST.mean(eta), atol=1e-6)
    assert -1e-5 <= float(DIST.entropy(eta)) <= np.log(5) + 1e-5
    np.testing.assert_allclose(DIST.mean(eta), DIST.mean(eta + np.float32(3)), atol=1e-5)
