"""Densities, scores and entropies at the ends of the parameters' range, in three precisions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb
from fsb.sites import ancestral, bind

INF, HUGE = np.inf, 3e38

# dist, logits of units (each a row for Categorical), a possible value of each, log p of the value
LOGITS = {
    "bernoulli": (
        fsb.Bernoulli(),
        [-INF, INF, -HUGE, HUGE, -1e30, 200.0],
        [0, 1, 0, 1, 0, 1],
        [0, 0, 0, 0, 0, 0],
    ),
    "categorical": (
        fsb.Categorical(),
        [
            [0, 0, -INF],
            [INF, 0, 7],
            [INF, INF, -INF],
            [HUGE, 2e38, -HUGE],
            [-HUGE, -HUGE, -INF],
            [-INF, -INF, -INF],
            [3e29, 0, 0],
        ],
        [[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]],
        np.log([0.5, 1, 0.5, 1, 0.5, 1 / 3, 1]),
    ),
    "poisson": (fsb.Poisson(), [-INF, -HUGE, -200.0], [0, 0, 0], [0, 0, 0]),
    "binomial": (
        fsb.Binomial(5),
        [-INF, INF, -HUGE, HUGE, 300.0],
        [0, 5, 0, 5, 5],
        [0, 0, 0, 0, 0],
    ),
    "geometric": (fsb.Geometric(), [INF, HUGE, 300.0], [0, 0, 0], [0, 0, 0]),
    "hard_concrete": (
        fsb.HardConcrete(),
        [-INF, INF, -HUGE, HUGE, 90.0],
        [0, 1, 0, 1, 1],
        [0, 0, 0, 0, 0],
    ),
}


@pytest.mark.slow
def test_infinite_logits_share_the_draws(key):
    eta = jnp.broadcast_to(jnp.array([INF, INF, 0.0]), (4000, 3))
    loss = lambda eta, sample: sample("z", fsb.Categorical(), eta)[:, 0]
    for first in (fsb.Categorical().sample(key, eta)[:, 0], bind(loss, eta)(ancestral(key))[0]):
        assert abs(first.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)


@pytest.mark.slow
@pytest.mark.parametrize(
    "dtype",
    ["float32", *(pytest.param(d, marks=pytest.mark.slow) for d in ("bfloat16", "float64"))],
)
@pytest.mark.parametrize("name", LOGITS)
def test_logits_at_the_ends(name, dtype, key):
    dist, eta, z, expected = LOGITS[name]
    with jax.enable_x64(dtype == "float64"):
        eta, z = jnp.asarray(eta, dtype), jnp.asarray(z, dtype)
        log_prob = dist.log_prob(eta, z)
        entropy = dist.entropy(eta)
        assert log_prob.dtype == entropy.dtype == eta.dtype
        tolerance = {"bfloat16": 1e-2}.get(dtype, 2e-6)
        np.testing.assert_allclose(log_prob.astype(float), expected, atol=tolerance)
        shared = -np.asarray(expected)  # the value shown is one of several equally likely ones
        np.testing.assert_allclose(entropy.astype(float), shared, atol=tolerance)
        score = jax.grad(lambda eta: dist.log_prob(eta, z).sum())(eta).astype(float)
        if name == "categorical":
            expected_score = np.asarray(z, float) - np.asarray(dist.mean(eta), float)
        else:
            expected_score = np.zeros(eta.shape)
        np.testing.assert_allclose(score, expected_score, atol=tolerance)
        for f in (dist.entropy, dist.mean):
            slope = jax.grad(lambda eta, f=f: f(eta).sum())(eta).astype(float)
            np.testing.assert_allclose(slope, 0, atol=tolerance)
        many = jnp.broadcast_to(eta[None], (200, *eta.shape))
        draws = dist.sample(key, many)
        certain = shared == 0
        assert (draws[:, certain] == z[None][:, certain]).all()
        assert (dist.log_prob(many, draws) > -2).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", LOGITS)
def test_impossible_values_have_no_mass(name):
    """p = 0, and a finite score: what ``exact`` multiplies is not NaN."""
    dist, eta, z, _ = LOGITS[name]
    eta, z = jnp.asarray(eta, "float32"), jnp.asarray(z, "float32")
    other = jnp.roll(z, 1, -1) if name == "categorical" else jnp.abs(z - 1)
    certain = np.asarray(dist.entropy(eta)) < 1e-6
    p = jnp.exp(dist.log_prob(eta, other))
    assert (p[certain] == 0).all()
    score = jax.grad(lambda eta: dist.log_prob(eta, other).sum())(eta)
    assert np.isfinite(score).all()


@pytest.mark.slow
@pytest.mark.parametrize("size", [INF, HUGE])
def test_ties_of_infinite_logits_are_drawn_alike(size, key):
    eta = jnp.broadcast_to(jnp.float32([size, 0, size]), (20_000, 1, 3))
    share = np.asarray(fsb.Categorical().sample(key, eta)).mean((0, 1))
    np.testing.assert_allclose(share, [0.5, 0, 0.5], atol=0.02)


@pytest.mark.slow
def test_the_score_of_a_poisson_count():
    eta, z = jnp.float32([-2.0, 0.3, 3.0, -jnp.inf]), jnp.float32([1.0, 0.0, 25.0, 0.0])
    score = jax.grad(lambda eta: fsb.Poisson().log_prob(eta, z).sum())(eta)
    np.testing.assert_allclose(score, z - np.exp(eta), rtol=1e-6)


def test_a_poisson_draw_of_a_large_rate(key):
    """Log-densities are computed in float32: eight bits would lose all of them."""
    eta = jnp.full((1000,), 10.0)
    z = fsb.Poisson().sample(key, eta)
    entropy = float(fsb.Poisson().entropy(eta[:1])[0])
    for dtype in ("float32", "bfloat16"):
        found = fsb.Poisson().log_prob(eta.astype(dtype), z.astype(dtype))
        assert found.dtype == dtype
        assert float(found.astype("float32").mean()) == pytest.approx(-entropy, abs=0.1)


NUMBERS = {  # dist, eta: densities whose large terms cancel
    "gamma": (fsb.Gamma(), (40.0, 0.1)),
    "beta": (fsb.Beta(), (60.0, 50.0)),
    "normal": (fsb.Normal(), (100.0, 0.5)),
    "laplace": (fsb.Laplace(), (0.0, 1e30)),
    "binomial": (fsb.Binomial(200), (0.5,)),
    "uniform": (fsb.Uniform(), (1.0, 2.0)),
    "exponential": (fsb.Exponential(), (1e30,)),
    "chi_squared": (fsb.ChiSquared(), (90.0,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NUMBERS)
def test_coarse_parameters_have_densities_as_fine_as_themselves(name, key):
    dist, eta = NUMBERS[name]
    coarse = tuple(jnp.full((50,), x, "bfloat16") for x in eta)
    coarse = coarse if len(coarse) > 1 else coarse[0]
    fine = jax.tree.map(lambda x: x.astype("float32"), coarse)
    z = dist.sample(key, coarse)
    assert z.dtype == jnp.bfloat16
    found, expected = dist.log_prob(coarse, z), dist.log_prob(fine, z.astype("float32"))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype("float32"), expected, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(
        dist.entropy(coarse).astype("float32"), dist.entropy(fine), rtol=1e-2, atol=1e-3
    )
