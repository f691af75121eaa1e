"""Local expectations: their exact variance, runs in which every flip is made, and refusals."""

from __future__ import annotations

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb
from fsb.diagnostics import evaluations
from fsb.networks import BernoulliLikelihood, vae
from fsb.objectives import elbo
from fsb.sites import ancestral, bind, replay

KEY = jax.random.key(0)
RNG = np.random.default_rng(3)


def enumerated(logits, table):
    """Mean and variance of the estimate, by a sum over all z, in NumPy.

    ``logits`` [d, K]; ``table`` holds the loss of each of the K^d values.
    """
    d, k = logits.shape
    pi = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    mean, square = np.zeros((d, k)), np.zeros((d, k))
    for z in itertools.product(range(k), repeat=d):
        weight = np.prod([pi[j, z[j]] for j in range(d)])
        f = np.array([[table[(*z[:j], v, *z[j + 1 :])] for v in range(k)] for j in range(d)])
        g = pi * (f - (pi * f).sum(1, keepdims=True))
        mean += weight * g
        square += weight * g**2
    return mean, square - mean**2


def draws_of(estimator, dist, table, eta, count):
    k = table.shape[0]

    def loss(eta, sample):
        z = sample("z", dist, eta)
        index = z.argmax(-1) if z.ndim == 3 else (z > 0).astype(int)
        return jnp.asarray(table)[tuple(index[:, j] for j in range(table.ndim))]

    assert eta.shape[-1] == k or k == 2
    draws = fsb.sample_gradients(estimator, loss, eta, KEY, count, 512)
    return np.asarray(draws, float)[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "samples"),
    [
        ("Bernoulli", 1),
        ("Categorical", 1),
        pytest.param("Bernoulli", 3, marks=pytest.mark.slow),
        pytest.param("Categorical", 3, marks=pytest.mark.slow),
    ],
)
def test_mean_and_variance_are_those_of_the_formula(family, samples):
    k, count = (2, 3)[family == "Categorical"], 2**14
    logits = RNG.normal(size=(3, k))
    table = RNG.normal(size=(k,) * 3).astype(np.float32)
    mean, variance = enumerated(logits, table)
    if family == "Bernoulli":  # eta is the difference of two logits
        mean, variance = mean[:, 1], variance[:, 1]
        dist, eta = fsb.Bernoulli(-1.0, 1.0), logits[:, 1] - logits[:, 0]
    else:
        dist, eta = fsb.Categorical(), logits
    estimator = fsb.local_expectation(samples)
    draws = draws_of(estimator, dist, table, jnp.float32(eta)[None], count)
    variance = variance / samples
    error = np.abs(draws.mean(0) - mean)
    assert (error < 5 * np.sqrt(variance / count) + 1e-6).all()
    fourth = ((draws - mean) ** 4).mean(0)
    error = np.abs(((draws - mean) ** 2).mean(0) - variance)
    assert (error < 5 * np.sqrt(fourth / count) + 1e-6).all()
    assert variance.max() > 1e-3


def by_hand(run, key):
    """The estimate of each site, flip by flip."""
    _, sites = run(ancestral(key))
    estimates = []
    for layer, site in enumerate(sites):
        values = {above.name: above.z for above in sites[:layer]}
        p, slopes = jax.nn.sigmoid(site.eta), []
        for j in range(site.z.shape[1]):
            high, low = (
                run(replay(values | {site.name: site.z.at[:, j].set(v)}, ancestral(key)))[0]
                for v in site.dist.support(site.eta)[::-1]
            )
            slopes.append(p[:, j] * (1 - p[:, j]) * (high - low))
        estimates.append(jnp.stack(slopes, 1))
    return estimates


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "hidden"), [(1, 0), (2, 1)])
def test_vae_flip_by_flip(layers, hidden):
    model = vae((3, 3), BernoulliLikelihood(), layers=layers, hidden=hidden, width=4)
    x = jnp.float32(RNG.uniform(size=(5, 3, 3)) < 0.5)
    variables = jax.jit(lambda k: model.init(k, x, lambda name, dist, eta: dist.mean(eta)))(KEY)
    shifts = tuple(jnp.zeros((5, 4)) for _ in range(layers))

    def loss(shifts, sample):
        """The gradient of a shift is that of the site's logits, but for the direct part."""
        shifts = iter(shifts)
        moved = lambda name, dist, eta: sample(name, dist, eta + next(shifts))
        evidence = model.apply(jax.lax.stop_gradient(variables), x, moved)
        return elbo()(evidence)

    def value(shifts, estimator):
        losses, _ = estimator.surrogate(bind(loss, shifts), (), (), KEY)
        return losses.sum()

    through_zero = fsb.local(lambda noise, eta, dist: [dist.from_noise(noise, eta)] * 2)
    got = jax.jit(jax.grad(lambda s: value(s, fsb.local_expectation())))(shifts)
    direct = jax.jit(jax.grad(lambda s: value(s, through_zero)))(shifts)
    by_flips = jax.jit(lambda: by_hand(bind(loss, shifts), KEY))()
    for g, d, e in zip(got, direct, by_flips, strict=True):
        np.testing.assert_allclose(g - d, e, rtol=1e-4, atol=1e-5)
        assert np.abs(e).max() > 1e-2


@pytest.mark.slow
def test_no_variance_for_sums_over_units():
    value = np.float32([0.3, -1.0, 2.0])
    loss = lambda eta, sample: (sample("z", fsb.Categorical(), eta) @ value).sum(-1)
    eta = RNG.normal(size=(1, 2, 3))
    pi = np.exp(eta) / np.exp(eta).sum(-1, keepdims=True)
    expected = pi * (value - pi @ value[:, None])
    draws = fsb.sample_gradients(fsb.local_expectation(), loss, jnp.float32(eta), KEY, 20)
    np.testing.assert_allclose(draws, np.tile(expected, (20, 1, 1, 1)), atol=1e-6)


@pytest.mark.slow
def test_one_evaluation_and_one_of_each_other_value():
    loss = lambda eta, sample: jnp.sin(sample("z", fsb.Categorical(), eta)).sum((1, 2))
    count = partial(evaluations, loss=loss, params=jnp.zeros((2, 3, 4)), key=KEY)
    assert count(fsb.local_expectation()) == 1 + 3 * (4 - 1)


@pytest.mark.slow
def test_samples_are_independent_runs():
    w = jnp.float32(RNG.normal(size=(3, 4)))
    loss = lambda eta, sample: jnp.tanh(sample("z", fsb.Bernoulli(), eta) @ w).sum(-1)
    eta = jnp.float32(RNG.normal(size=(2, 3)))
    got = jax.jit(fsb.value_and_grad(fsb.local_expectation(3), loss))(eta, KEY)
    one = jax.jit(fsb.value_and_grad(fsb.local_expectation(), loss))
    runs = [one(eta, key) for key in jax.random.split(KEY, 3)]
    for a, *b in zip(got, *runs, strict=True):
        np.testing.assert_allclose(a, np.mean(b, 0), rtol=1e-5)


@pytest.mark.slow
def test_one_value_has_no_gradient():
    loss = lambda eta, sample: sample("z", fsb.Categorical(), eta).sum((1, 2))
    estimate = jax.jit(fsb.value_and_grad(fsb.local_expectation(), loss))
    grads = estimate(jnp.ones((2, 3, 1)), KEY)[1]
    np.testing.assert_array_equal(grads, 0)


@pytest.mark.parametrize(("argument", "value"), [("samples", 0), ("memory", 0)])
def test_refusals(argument, value):
    with pytest.raises(fsb.FsbError, match=f"{argument}=0: it must be at least 1"):
        fsb.local_expectation(**{argument: value})
