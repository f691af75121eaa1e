"""Subsets, against enumeration of all of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb

INF = float("inf")
CASES = {"one of four": (1, 4), "two of five": (2, 5), "all but one": (4, 5), "all": (3, 3)}


def enumerated(size, eta):
    """Subsets [C, N] and their log-probabilities [..., C] in float64."""
    subsets = np.asarray(fsb.Subset(size).support(eta), np.float64)
    score = np.asarray(eta, np.float64) @ subsets.T
    return subsets, score - np.log(np.exp(score).sum(-1, keepdims=True))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_probabilities_against_enumeration(case, key):
    size, count = CASES[case]
    dist = fsb.Subset(size)
    with jax.enable_x64(True):
        eta = 2 * jax.random.normal(key, (3, 2, count), jnp.float64)
        subsets, log = enumerated(size, eta)
        p = np.exp(log)
        for i, z in enumerate(subsets):
            z = jnp.broadcast_to(jnp.asarray(z), eta.shape)
            np.testing.assert_allclose(dist.log_prob(eta, z), log[..., i], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(dist.mean(eta), p @ subsets, atol=1e-9)
        np.testing.assert_allclose(dist.entropy(eta), -(p * log).sum(-1), atol=1e-9)
        covariance = np.einsum("...s,si,sj->...ij", p, subsets, subsets)
        covariance -= np.einsum("...s,...t,si,tj->...ij", p, p, subsets, subsets)
        slopes = jax.vmap(jax.vmap(jax.jacobian(dist.mean)))(eta)
        np.testing.assert_allclose(slopes, covariance, atol=1e-9)


@pytest.mark.slow
def test_draws_have_the_probabilities(key):
    eta = jnp.array([0.3, -1.0, 2.0, 0.0, 0.7])
    draws = fsb.Subset(2).sample(key, jnp.broadcast_to(eta, (20_000, 5)))
    subsets, log = enumerated(2, eta)
    assert (draws.sum(-1) == 2).all()
    found = (np.asarray(draws) @ subsets.T == 2).mean(0)
    assert (abs(found - np.exp(log)) < 4.5 * np.sqrt(np.exp(log) / 20_000)).all()


@pytest.mark.parametrize(
    ("size", "eta", "mean"),
    [
        (2, [INF, 0.0, 0.0, -INF], [1, 0.5, 0.5, 0]),
        (2, [INF, INF, INF, 5.0], [2 / 3, 2 / 3, 2 / 3, 0]),
        (2, [-INF, -INF, -INF, 2.0], [1 / 3, 1 / 3, 1 / 3, 1]),
        (2, [1000.0, 0.0, -1000.0, 0.0], [1, 0.5, 0, 0.5]),
        (1, [3e38, -3e38, 0.0, 0.0], [1, 0, 0, 0]),
        (4, [INF, -INF, 0.0, 1.0], [1, 1, 1, 1]),
    ],
)
def test_infinite_and_large_logits(size, eta, mean, key):
    dist, eta = fsb.Subset(size), jnp.array([[eta]])
    draws = dist.sample(key, jnp.broadcast_to(eta, (500, 1, 4)))
    assert (draws.sum(-1) == size).all()
    np.testing.assert_allclose(dist.mean(eta)[0, 0], mean, atol=1e-5)
    np.testing.assert_allclose(draws.mean((0, 1)), mean, atol=0.12)
    functions = (dist.mean, dist.entropy, lambda eta: dist.log_prob(eta, draws[:1]))
    for function in functions:
        assert np.isfinite(function(eta)).all()
        assert np.isfinite(jax.grad(lambda eta, f=function: f(eta).sum())(eta)).all()


def test_what_nobody_would_choose_keeps_its_density():
    """Also where the probability itself is rounded to 0."""
    eta, z = jnp.array([0.0, 300.0, 500.0]), jnp.array([1.0, 1.0, 0.0])
    assert fsb.Subset(2).log_prob(eta, z) == pytest.approx(-500, rel=1e-6)


def loss(params, sample):
    """Not linear, over a layer of two units that decides the next one's logits."""
    z = sample("z", fsb.Subset(2), params["a"])
    y = sample("y", fsb.Subset(1), params["b"] + jnp.tanh(z @ params["w"]).sum(-2)[:, None])
    return jnp.sin(y @ jnp.array([1.0, -0.5, 2.0])).sum(-1) + (z.sum(-2) ** 3 @ params["c"])


@pytest.fixture
def params(key):
    shapes = {"a": (1, 2, 4), "b": (1, 1, 3), "w": (4, 3), "c": (4,)}
    keys = jax.random.split(key, len(shapes))
    return {n: jax.random.normal(k, s) for k, (n, s) in zip(keys, shapes.items(), strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reinforce", "rloo"])
def test_score_estimators_are_unbiased(name, key, params):
    estimator = getattr(fsb, name)()
    expected = fsb.exact_gradient(loss, params)
    draws = fsb.sample_gradients(estimator, loss, params, key, 20_000)
    for found, exact in zip(jax.tree.leaves(draws), jax.tree.leaves(expected), strict=True):
        error = found.std(0) / np.sqrt(len(found)) + 1e-6
        assert (abs(found.mean(0) - exact) < 4.5 * error).all()


@pytest.mark.slow
def test_simple_has_its_predicted_mean(key):
    """Mean of J g(z), with J the covariance of z: enumerated."""
    eta = jnp.array([[[0.3, -1.0, 1.5, 0.0]]])
    cubic = lambda z: ((z @ jnp.array([1.0, -2.0, 0.5, 3.0])) ** 3).sum(-1)
    subsets, log = enumerated(2, eta)
    p = np.exp(log)[0, 0]
    covariance = np.cov(subsets.T, aweights=p, bias=True)
    slopes = np.asarray(jax.vmap(jax.grad(cubic))(jnp.asarray(subsets, jnp.float32)[:, None]))
    expected = covariance @ (p @ slopes[:, 0])
    wrapped = lambda eta, sample: jax.vmap(cubic)(sample("z", fsb.Subset(2), eta))
    draws = fsb.sample_gradients(fsb.st(), wrapped, eta, key, 20_000)[:, 0, 0]
    assert (abs(draws.mean(0) - expected) < 4.5 * draws.std(0) / np.sqrt(20_000)).all()


def test_simple_is_exact_for_linear_losses(key):
    eta, weights = jnp.array([[[0.3, -1.0, 1.5, 0.0]]]), jnp.array([1.0, -2.0, 0.5, 3.0])
    linear = lambda eta, sample: (sample("z", fsb.Subset(2), eta) @ weights).sum(-1)
    found = fsb.value_and_grad(fsb.st(), linear)(eta, key)[1]
    np.testing.assert_allclose(found, fsb.exact_gradient(linear, eta), atol=1e-5)


def test_refused():
    with pytest.raises(fsb.FsbError, match=r"Subset\(size=0\): it must be a positive integer"):
        fsb.Subset(0)
    with pytest.raises(fsb.FsbError, match=r"Subset\(size=5\): there are only 4 elements"):
        fsb.Subset(5).sample(jax.random.key(0), jnp.zeros((1, 1, 4)))
    with pytest.raises(fsb.FsbError, match="too many subsets of 60 to list"):
        fsb.Subset(30).support(jnp.zeros((1, 1, 60)))
    site = lambda eta, sample: sample("z", fsb.Subset(2), eta).sum((-1, -2))
    with pytest.raises(fsb.FsbError, match="darn supports Bernoulli and Categorical sites"):
        fsb.value_and_grad(fsb.darn(), site)(jnp.zeros((1, 1, 4)), jax.random.key(0))
