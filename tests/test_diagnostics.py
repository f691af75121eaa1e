"""The exact gradient against plain enumeration; draws of gradients."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb
from fsb import Categorical

ENCODINGS = ((-1.0, 1.0), (0.0, 1.0), (-0.5, 0.5))
WIDTHS = (2, 3, 2)
TARGETS = np.array([0.45, -0.3])  # one an example


def parameters(seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(2, WIDTHS[0]), *itertools.pairwise(WIDTHS)]
    return {f"w{i}": rng.normal(size=s) for i, s in enumerate(shapes)}


def deep_loss(params, sample, xp=jnp):
    """Three layers; the loss reads the last and the first."""
    eta, first = params["w0"], None
    for i, encoding in enumerate(ENCODINGS):
        z = sample(f"z{i}", fsb.Bernoulli(*encoding), eta)
        first = z if first is None else first
        if i + 1 < len(ENCODINGS):
            eta = 2 * xp.tanh(z @ params[f"w{i + 1}"])
    return xp.sin(2 * z[:, 0] + first[:, 1] - xp.asarray(TARGETS, z.dtype)) + z.prod(-1) ** 3


def expectation(params):
    """Mean of the losses over the batch and all states, in NumPy, double precision."""
    total = 0.0
    for bits in itertools.product((0, 1), repeat=sum(WIDTHS)):
        parts = iter(np.split(np.array(bits), np.cumsum(WIDTHS)[:-1]))
        probability = np.ones(2)

        def sample(name, dist, eta, parts=parts):
            nonlocal probability
            bit = next(parts)
            p = 1 / (1 + np.exp(-eta))
            probability = probability * np.where(bit, p, 1 - p).prod(-1)
            return np.broadcast_to(np.where(bit, dist.high, dist.low), eta.shape)

        total += (deep_loss(params, sample, np) * probability).mean()
    return total


@pytest.mark.slow
def test_three_layers_against_plain_enumeration():
    params = parameters()
    step = 1e-5
    as_jax = jax.tree.map(jnp.float32, params)
    value, found = jax.jit(fsb.value_and_grad(fsb.exact(), deep_loss))(as_jax, jax.random.key(0))
    assert float(value) == pytest.approx(expectation(params), rel=1e-5)
    exact = jax.jit(lambda p: fsb.exact_gradient(deep_loss, p))(as_jax)
    for name, array in params.items():
        np.testing.assert_allclose(exact[name], found[name], rtol=1e-6)
        for index in np.ndindex(array.shape):
            ends = []
            for sign in (1, -1):
                moved = {**params, name: array.copy()}
                moved[name][index] += sign * step
                ends.append(expectation(moved))
            assert float(exact[name][index]) == pytest.approx(
                (ends[0] - ends[1]) / (2 * step), rel=2e-3, abs=1e-5
            )


@pytest.mark.slow
@pytest.mark.parametrize("size", [np.inf, pytest.param(1000.0, marks=pytest.mark.slow)])
def test_certain_units(size):
    """p in {0, 1}: the expectation is one state's loss, and a certain unit has no gradient."""
    params = jax.tree.map(jnp.float32, parameters())
    params["w0"] = jnp.float32([[size, -size], [size, 0.3]])
    value, grads = jax.jit(fsb.value_and_grad(fsb.exact(), deep_loss))(params, jax.random.key(0))
    finite = {**params, "w0": jnp.clip(params["w0"], -60, 60)}
    assert float(value) == pytest.approx(expectation(jax.tree.map(np.float64, finite)), rel=1e-5)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    np.testing.assert_array_equal(np.asarray(grads["w0"]).ravel()[:3], 0)
    assert abs(float(grads["w0"][1, 1])) > 1e-3


@pytest.mark.slow
def test_categorical_units_and_several_sites():
    """E f = sum_k p_k q f(k, b): against the formula in float64."""
    table = np.random.default_rng(1).normal(size=(3, 2))

    def loss(params, sample):
        k = sample("k", Categorical(), params["k"])
        b = sample("b", fsb.Bernoulli(), params["b"])
        both = jnp.stack([1 - b, b], -1)
        return jnp.einsum("bk,bc,kc->b", k, both, jnp.float32(table))

    params = {"k": jnp.array([[0.2, -1.0, 0.5]]), "b": jnp.array([0.7])}
    found = jax.jit(lambda p: fsb.exact_gradient(loss, p))(params)
    p = np.exp(np.float64(params["k"][0]))
    p, q = p / p.sum(), 1 / (1 + np.exp(-0.7))
    mixed = table @ [1 - q, q]
    np.testing.assert_allclose(found["k"][0], p * (mixed - p @ mixed), rtol=1e-4, atol=1e-6)
    expected = q * (1 - q) * (p @ (table[:, 1] - table[:, 0]))
    assert float(found["b"][0]) == pytest.approx(expected, rel=1e-4)


def test_a_loss_without_sites_has_its_ordinary_gradient():
    grad = fsb.exact_gradient(lambda params, sample: params**2, jnp.array([3.0, 1.0]))
    assert grad.tolist() == [3.0, 1.0]


def message(call):
    with pytest.raises(fsb.FsbError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
def test_what_cannot_be_enumerated_is_refused_in_one_line():
    wide = lambda eta, sample: sample("wide", fsb.Bernoulli(), eta).sum(-1)
    text = message(lambda: fsb.exact_gradient(wide, jnp.zeros((2, 400))))
    assert text.startswith("exact: about 10^120 joint states (wide: 400 units), more than")
    text = message(lambda: fsb.exact_gradient(wide, jnp.zeros((2, 4)), max_states=15))
    assert "more than max_states=15; use fewer units or another estimator" in text
    assert jax.eval_shape(
        lambda p: fsb.exact_gradient(wide, p, max_states=16), jnp.zeros((2, 4))
    ).shape == (2, 4)
    gauss = lambda eta, sample: sample("g", fsb.Normal(), (eta, eta)).sum(-1)
    assert "Normal has infinitely many values" in message(
        lambda: fsb.exact_gradient(gauss, jnp.ones((2, 3)))
    )
    shared = lambda eta, sample: jnp.zeros(5) + sample("s", fsb.Bernoulli(), eta).sum()
    text = message(lambda: fsb.exact_gradient(shared, jnp.zeros((2, 3))))
    assert text == (
        "site 's' has the shape (2, 3) and the losses (5,): exact needs one row for each loss; "
        "a site that all examples share is (1, 2, 3)"
    )


def simple(eta, sample):
    return ((sample("b", fsb.Bernoulli(), eta) - 0.45) ** 2).sum(-1)


ETA = jnp.array([[0.4, -1.0, 2.0]])


@pytest.mark.slow
def test_draws_are_those_of_value_and_grad(key):
    draws = fsb.sample_gradients(fsb.darn(), simple, ETA, key, 6)
    assert draws.shape == (6, 1, 3)
    estimate = jax.jit(fsb.value_and_grad(fsb.darn(), simple))
    for draw, k in zip(draws, jax.random.split(key, 6), strict=True):
        np.testing.assert_allclose(draw, estimate(ETA, k)[1], rtol=1e-5)


@pytest.mark.slow
def test_any_pytree_of_parameters(key):
    loss = lambda p, sample: p["scale"][0] * simple(p["eta"], sample)
    draws = fsb.sample_gradients(fsb.st(), loss, {"eta": ETA, "scale": (jnp.float32(2),)}, key, 4)
    assert jax.tree.map(jnp.shape, draws) == {"eta": (4, 1, 3), "scale": ((4,),)}


@pytest.mark.slow
@pytest.mark.parametrize("chunk_size", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_chunks_do_not_change_the_draws(chunk_size, key):
    whole = fsb.sample_gradients(fsb.foust(), simple, ETA, key, 100)
    chunked = fsb.sample_gradients(fsb.foust(), simple, ETA, key, 100, chunk_size)
    np.testing.assert_allclose(chunked, whole, rtol=1e-6)


@pytest.mark.slow
def test_draws_are_independent(key):
    draws = np.asarray(fsb.sample_gradients(fsb.darn(), simple, ETA, key, 20_000))[:, 0]
    for lag in (1, 2, 4096):
        for unit in range(3):
            left, right = draws[:-lag, unit], draws[lag:, unit]
            assert abs(np.corrcoef(left, right)[0, 1]) < 4 / np.sqrt(len(left))
    assert abs(np.corrcoef(draws.T)[np.triu_indices(3, 1)]).max() < 4 / np.sqrt(20_000)


@pytest.mark.parametrize(("num_samples", "chunk_size"), [(0, 5), (5, 0), (-1, 5)])
def test_nothing_to_draw(num_samples, chunk_size, key):
    text = message(
        lambda: fsb.sample_gradients(fsb.st(), simple, ETA, key, num_samples, chunk_size)
    )
    assert "both must be positive" in text


@pytest.mark.slow
def test_a_million_draws_fit(key):
    draws = np.asarray(fsb.sample_gradients(fsb.darn(), simple, ETA, key, 1_000_000))
    assert draws.shape == (1_000_000, 1, 3)
    exact = fsb.exact_gradient(simple, ETA)
    error = draws.std(0, dtype=np.float64) / 1000
    assert (abs(draws.mean(0, dtype=np.float64) - exact) < 4 * error).all()
    assert error.max() < 3e-4
