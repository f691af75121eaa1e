"""Probabilities as parameters, at 0, 1 and between, against enumeration by hand."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb

P = np.array([[0.0, 0.3, 1.0, 0.5]])
DIST = fsb.Bernoulli(-1.0, 2.0)


def f(z):
    return (
        z[..., 0] * z[..., 1] + z[..., 1] * z[..., 2] ** 2 + 3 * z[..., 2] + z[..., 3] * z[..., 0]
    )


def loss(p, sample):
    return f(sample("b", DIST, fsb.logit_of(p)))


def linear(p, sample):
    return (sample("b", DIST, fsb.logit_of(p)) * jnp.array([[1.0, -2.0, 3.0, 0.5]])).sum(-1)


def true_gradient():
    """d/dp of sum over states of prod p^b (1 - p)^(1 - b) f, written out."""
    grad = np.zeros(4)
    for bits in itertools.product((0, 1), repeat=4):
        b = np.array(bits)
        each = np.where(b, P[0], 1 - P[0])
        value = f(np.where(b, 2.0, -1.0))
        for j in range(4):
            grad[j] += np.delete(each, j).prod() * (1 if b[j] else -1) * value
    return grad


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_exact_at_the_ends(dtype):
    with jax.enable_x64(dtype == "float64"):
        found = fsb.exact_gradient(loss, jnp.asarray(P, dtype))
        assert found.dtype == dtype
        rtol = {"float64": 1e-9, "float32": 1e-5, "bfloat16": 0.1}[dtype]  # sums of 16 terms
        atol = 10 * rtol
        np.testing.assert_allclose(found[0].astype(float), true_gradient(), rtol=rtol, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["local_expectation", "bitflip", "ugc"])
def test_estimators_that_evaluate_both_values(name, key):
    draws = fsb.sample_gradients(getattr(fsb, name)(), loss, jnp.float32(P), key, 40_000)
    draws = np.asarray(draws, np.float64)[:, 0]
    error = draws.std(0) / np.sqrt(len(draws)) + 1e-4
    assert (abs(draws.mean(0) - true_gradient()) < 4 * error).all()
    assert error.max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["st", "local_expectation", "bitflip"])
def test_linear_losses(name, key):
    draws = fsb.sample_gradients(getattr(fsb, name)(), linear, jnp.float32(P), key, 20_000)
    expected = 3 * np.array([1.0, -2.0, 3.0, 0.5])
    np.testing.assert_allclose(draws.mean(0)[0], expected, rtol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reinforce", "disarm", "darn", "rloo", "foust", "gumbel_softmax"])
def test_every_gradient_is_finite(name, key):
    draws = fsb.sample_gradients(getattr(fsb, name)(), loss, jnp.float32(P), key, 1000)
    assert np.isfinite(draws).all()


@pytest.mark.slow
def test_draws_at_the_ends_are_certain(key):
    p = jnp.broadcast_to(jnp.float32(P), (500_000, 4))
    z = np.asarray(DIST.sample(key, fsb.logit_of(p)))
    assert set(z[:, 0]) == {-1}
    assert set(z[:, 2]) == {2}
    assert abs((z[:, 1] > 0).mean() - 0.3) < 0.004


@pytest.mark.slow
def test_noise_is_never_zero(monkeypatch, key):
    """Where the generator gives 0, a unit of p = 4e-18 is still low."""
    from fsb.distributions import bernoulli

    monkeypatch.setattr(bernoulli, "uniform", lambda key, shape, dtype: jnp.zeros(shape, dtype))
    eta = fsb.logit_of(jnp.zeros((1, 2)))
    assert DIST.sample(key, eta).tolist() == [[-1, -1]]
    assert fsb.Geometric().sample(key, jnp.zeros((1,))).item() == 24


@pytest.mark.slow
def test_values_between_are_logits():
    p = jnp.array([0.001, 0.3, 0.5, 0.999])
    np.testing.assert_allclose(fsb.logit_of(p), np.log(p / (1 - p)), rtol=1e-5)
    slope = jax.grad(lambda p: fsb.logit_of(p).sum())(p)
    np.testing.assert_allclose(slope, 1 / (p * (1 - p)), rtol=1e-5)
    assert np.isnan(fsb.logit_of(jnp.array([-0.1, 1.1]))).all()
