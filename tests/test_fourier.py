"""Harmonic analysis against its definitions, and what it predicts against the estimators."""

from __future__ import annotations

import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fsb
from fsb import Bernoulli, FsbError, fourier

PROPERTY = settings(max_examples=40, deadline=None)
SIGNS = Bernoulli(-1.0, 1.0)


@st.composite
def functions(draw, most=5):
    """A table of a random function and probabilities, certain ones and none among them."""
    n = draw(st.integers(0, most))
    q = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(1e-4, 1 - 1e-4))
    p = np.array(draw(st.lists(q, min_size=n, max_size=n)), float)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.uniform(-1, 1, 2**n), p


def enumerate_states(n):
    return np.array(list(itertools.product([0, 1], repeat=n)), int).reshape(2**n, n)


def weight(p):
    """P of every state, by the definition."""
    return np.array([np.prod([q if b else 1 - q for q, b in zip(p, z, strict=True)])
                     for z in enumerate_states(len(p))])  # fmt: skip


def by_definition(values, p, low, high):
    """E[f phi_S] with phi the standardised values of units in {low, high}; S as the index says."""
    z = np.where(enumerate_states(len(p)) == 1, high, low)
    mu, sigma = low + (high - low) * p, (high - low) * np.sqrt(p * (1 - p))
    phi = np.where(sigma > 0, (z - mu) / np.where(sigma > 0, sigma, 1), 0)
    members = enumerate_states(len(p)) == 1
    table = np.array([phi[:, s].prod(-1) for s in members])
    return table @ (weight(p) * values), table


@pytest.mark.slow
@PROPERTY
@given(functions())
def test_transform_is_its_definition_in_every_encoding(case):
    values, p = case
    found = fourier.transform(values, p)
    for low, high in ((0.0, 1.0), (-1.0, 1.0), (2.0, 5.0)):
        expected, basis = by_definition(values, p, low, high)
        np.testing.assert_allclose(found, expected, atol=1e-12)
        states = enumerate_states(len(p))
        np.testing.assert_allclose(fourier.evaluate_basis(states, p), basis.T, rtol=1e-9)
    np.testing.assert_allclose(fourier.probabilities(p), weight(p), atol=1e-15)


@pytest.mark.slow
def test_transform_of_ten_units():
    rng = np.random.default_rng(0)
    values, p = rng.normal(size=(2, 1024)), rng.uniform(0.02, 0.98, 10)
    p[[2, 7]] = 0, 1
    expected = [by_definition(row, p, -1.0, 1.0)[0] for row in values]
    np.testing.assert_allclose(fourier.transform(values, p), expected, atol=1e-12)


@pytest.mark.slow
def test_twenty_units_take_under_two_seconds():
    rng = np.random.default_rng(0)
    values, p = rng.normal(size=2**20), rng.uniform(0, 1, 20)
    start = time.perf_counter()
    spectrum = fourier.transform(values, p)
    assert time.perf_counter() - start < 2
    np.testing.assert_allclose(fourier.inverse(spectrum, p), values, atol=1e-11)


@pytest.mark.slow
@PROPERTY
@given(functions(), st.floats(0, 1))
def test_identities(case, rho):
    values, p = case
    n, prob = len(p), weight(p)
    spectrum = fourier.transform(values, p)
    size = fourier.degrees(n)
    assert size.tolist() == enumerate_states(n).sum(-1).tolist()
    mean = lambda table: prob @ table

    possible = prob > 0
    np.testing.assert_allclose(fourier.inverse(spectrum, p)[possible], values[possible], atol=1e-12)
    weights = fourier.degree_weights(spectrum)
    np.testing.assert_allclose(weights.sum(), mean(values**2), atol=1e-12)
    np.testing.assert_allclose(weights[1:].sum(), mean((values - mean(values)) ** 2), atol=1e-12)

    smoothed = fourier.noise_operator(values, p, rho)
    np.testing.assert_allclose(fourier.transform(smoothed, p), rho**size * spectrum, atol=1e-12)
    stability = fourier.noise_stability(spectrum, rho)
    np.testing.assert_allclose(stability, mean(values * smoothed), atol=1e-12)

    influences, gradient = fourier.influences(spectrum), fourier.logit_gradient(spectrum, p)
    for i, q in enumerate(p):
        given_others = np.moveaxis(values.reshape((2,) * n), i, -1).reshape(-1, 2)
        others = weight(np.delete(p, i))
        difference = given_others[:, 1] - given_others[:, 0]
        np.testing.assert_allclose(
            influences[i], others @ (q * (1 - q) * difference**2), atol=1e-12
        )
        np.testing.assert_allclose(gradient[i], q * (1 - q) * (others @ difference), atol=1e-12)

        derivative = fourier.discrete_derivative(values, p, i)
        bit = enumerate_states(n)[:, i]
        shifted = np.where(bit == 0, np.roll(spectrum, -(2 ** (n - 1 - i))), 0)  # fhat(S + i)
        np.testing.assert_allclose(fourier.transform(derivative, p), shifted, atol=1e-12)
        np.testing.assert_allclose(mean(derivative**2), influences[i], atol=1e-12)
    total = fourier.total_influence(spectrum)
    np.testing.assert_allclose(total, influences.sum(), atol=1e-12)
    np.testing.assert_allclose(total, size @ spectrum**2, atol=1e-12)


@PROPERTY
@given(functions(3), st.floats(0, 1))
def test_noise_operator_keeps_or_redraws_each_unit(case, rho):
    """Also at the states that never occur."""
    values, p = case
    states = enumerate_states(len(p))
    kernel = [
        [np.prod(np.where(x == y, rho, 0) + (1 - rho) * np.where(y, p, 1 - p)) for y in states]
        for x in states
    ]
    np.testing.assert_allclose(
        fourier.noise_operator(values, p, rho), np.array(kernel) @ values, atol=1e-12
    )


def test_certain_units_are_the_limit_of_nearly_certain_ones():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(3, 16))
    sure, near = np.array([0.0, 0.3, 1.0, 0.6]), np.array([1e-14, 0.3, 1 - 1e-14, 0.6])
    spectrum = fourier.transform(values, sure)
    np.testing.assert_allclose(spectrum, fourier.transform(values, near), atol=1e-6)
    certain = enumerate_states(4)[:, [0, 2]].any(-1)
    assert (spectrum[:, certain] == 0).all()
    assert (abs(spectrum[:, ~certain]) > 1e-3).all()
    # A state that never occurs gets the value at the certain values of the certain units.
    restored = fourier.inverse(spectrum, sure).reshape(3, 2, 2, 2, 2)
    expected = values.reshape(3, 2, 2, 2, 2)[:, :1, :, 1:, :]
    np.testing.assert_allclose(restored, np.broadcast_to(expected, restored.shape), atol=1e-12)


def test_lemma_1():
    """Degree one, the mean of REINFORCE, and twice the coefficient under p_i -> 1/2."""
    eta = np.array([0.4, -1.0, 2.0])
    p = 1 / (1 + np.exp(-eta))
    values = np.sin(1.7 * fourier.states(3, SIGNS) + 0.3).prod(-1)
    spectrum = fourier.transform(values, p)
    gradient = fourier.logit_gradient(spectrum, p)

    reinforce = (weight(p) * values) @ (enumerate_states(3) - p)
    np.testing.assert_allclose(gradient, reinforce, atol=1e-12)
    for i in range(3):
        fair = np.where(np.arange(3) == i, 0.5, p)
        at_half = fourier.transform(values, fair)[2 ** (2 - i)]
        sigma = 2 * np.sqrt(p[i] * (1 - p[i]))  # of a unit in {-1, 1}
        per_p = gradient[i] / (p[i] * (1 - p[i]))
        np.testing.assert_allclose(per_p, 2 * at_half, rtol=1e-12)
        np.testing.assert_allclose(per_p, 2 / sigma * spectrum[2 ** (2 - i)], rtol=1e-12)


# --- coefficients by sampling


def test_sampled_coefficients_and_their_errors(key):
    rng = np.random.default_rng(2)
    p, table = np.array([0.5, 0.2, 0.0, 0.7, 0.4, 1.0]), rng.normal(size=64) + 50

    def f(z):
        assert len(z) <= 999
        return table[((z + 1) / 2 @ 2.0 ** np.arange(6)[::-1]).astype(int)]

    found = fourier.low_degree_coefficients(f, p, 3, key, 20_000, SIGNS, chunk_size=999)
    index = [sum(2 ** (5 - i) for i in s) for s in found.subsets]
    assert len(set(index)) == 1 + 6 + 15 + 20
    expected = fourier.transform(table, p)[index]
    random = found.errors > 0
    np.testing.assert_array_equal(found.coefficients[~random], 0)
    assert random.sum() == 1 + 4 + 6 + 4  # no certain unit
    z = (found.coefficients - expected)[random] / found.errors[random]
    assert abs(z).max() < 4
    assert 0.5 < np.sqrt((z**2).mean()) < 1.5
    np.testing.assert_allclose(found.errors[random].mean(), table.std() / 20_000**0.5, rtol=0.2)


@pytest.mark.slow
def test_sampling_finds_two_terms_among_sixty_units(key):
    p = np.linspace(0.1, 0.9, 60)
    phi = lambda z, i: (z[:, i] - p[i]) / np.sqrt(p[i] * (1 - p[i]))
    f = lambda z: 7 + 2 * phi(z, 0) * phi(z, 59) - phi(z, 30)
    found = fourier.low_degree_coefficients(f, p, 2, key, 4000)
    expected = dict.fromkeys(found.subsets, 0.0) | {(): 7.0, (0, 59): 2.0, (30,): -1.0}
    z = (found.coefficients - list(expected.values())) / found.errors
    assert len(z) == 1 + 60 + 60 * 59 / 2
    assert abs(z).max() < 5
    assert 0.9 < z.std() < 1.1


def test_few_draws_are_as_unbiased_as_many():
    draws = [
        fourier.low_degree_coefficients(
            lambda z: z[:, 0], [0.5], 1, jax.random.key(seed), 2
        ).coefficients
        for seed in range(100)
    ]
    np.testing.assert_allclose(np.mean(draws, 0), [0.5, 0.5], atol=3.5 * 0.5 / 100**0.5)


# --- Taylor coefficients and the bias of the estimators


@pytest.mark.slow
def test_taylor_coefficients():
    with jax.enable_x64(True):
        f = lambda z: jnp.stack([jnp.sin(z[0]) * z[1], z[0] + z[1] ** 3])
        found = jax.jit(lambda z: fourier.taylor_coefficients(f, z, 5, centre=0.5))(
            jnp.array([0.3, 2.0])
        )
    s, c = np.sin(0.5), np.cos(0.5)
    expected = np.zeros((6, 2, 2))
    expected[:, 0, 0] = 2 * np.array([s, c, -s / 2, -c / 6, s / 24, c / 120])
    expected[:2, 0, 1] = 0.5 * np.sin(0.3), np.sin(0.3)
    expected[:2, 1, 0] = 0.5 + 8, 1
    expected[:4, 1, 1] = 0.3 + 0.125, 0.75, 1.5, 1
    np.testing.assert_allclose(found, expected, atol=1e-14)


@pytest.mark.slow
def test_lemma_2_corrected():
    """The series, term by term, for polynomials of two units."""
    rng = np.random.default_rng(3)
    c = rng.normal(size=(6, 5))  # of z_0^j z_1^k
    powers, a, eta = np.arange(6), 0.7, np.array([0.8, -1.1])
    p = 1 / (1 + np.exp(-eta))
    mu = 2 * p - 1

    def f(z):
        return (z[0] ** powers) @ c @ (z[1] ** powers[:5])

    def moments(delta, unit):  # E[z^k], z = a s u
        k = powers[:5]
        return a**k * np.where(k % 2, mu[unit], 1) * damped(k + 1, delta) / (k + 1)

    def damped(k, delta):
        return k if delta == 0 else (1 - (1 - delta) ** k) / delta

    with jax.enable_x64(True):
        for delta, reweighed in ((0.0, False), (0.0, True), (0.4, False), (1.0, True)):
            found = fourier.predicted_bias(f, eta, Bernoulli(-a, a), delta, 0.9, reweighed, nodes=3)
            odd, even = (powers % 2 == 1), (powers % 2 == 0) & (powers > 0)
            scale = a ** (powers - 1.0)
            noisy, hard = c @ moments(delta, 1), c @ moments(0.0, 1)
            w = 0.9 * damped(powers, delta) * scale
            per_logit = 2 * a * p[0] * (1 - p[0])
            np.testing.assert_allclose(
                found.odd[0], per_logit * (w * noisy - scale * hard)[odd].sum(), atol=1e-13
            )
            even_part = per_logit * mu[0] * (w * noisy)[even].sum() * (not reweighed)
            np.testing.assert_allclose(found.even[0], even_part, atol=1e-13)
            np.testing.assert_allclose(found.total, found.odd + found.even)
            if reweighed:
                np.testing.assert_array_equal(found.even, 0)

        # To the letter of the paper, in p: (k - 2) with the term k = 1, which the paper leaves out.
        line = lambda z: 3 * z[0] + 5 * z[0] ** 3 + 2 * z[0] ** 2
        letter = fourier.predicted_bias(
            line, eta[:1], SIGNS, delta=0.0, importance_reweighing=False, scale_mode="paper"
        )
        per_p = np.array(letter) / (p[0] * (1 - p[0]))
    np.testing.assert_allclose(per_p[0], (1 - 2) * 3 + (3 - 2) * 5, atol=1e-12)
    np.testing.assert_allclose(per_p[1], mu[0] * 2 * 2, atol=1e-12)


COUNT, UNITS = 100, 3
CASES = (  # estimator, its account as FouST, encoding
    (fsb.st(), (0.0, 1.0, False), (-1.0, 1.0)),
    (fsb.st(), (0.0, 1.0, False), (0.0, 1.0)),
    (fsb.darn(), (0.0,), (-1.0, 1.0)),
    (fsb.darn("half"), (0.0,), (1.0, 1.5)),
    (fsb.foust(0.0, 0.8, False, "paper"), (0.0, 0.8, False, "paper"), (-0.3, 0.3)),
    (fsb.foust(), (), (-0.5, 0.5)),
    (fsb.foust(0.3, 0.8), (0.3, 0.8), (-1.6, 1.6)),
    (fsb.foust(0.7, 1.2, False), (0.7, 1.2, False), (-0.5, 0.5)),
    (fsb.foust(0.7, 1.2, True, "paper"), (0.7, 1.2, True, "paper"), (-1.0, 1.0)),
    (fsb.foust(1.0), (1.0,), (0.0, 1.0)),
)
LOGITS = np.array([[0.3, -1.2, 2.1], [-0.8, 0.0, 4.0], [np.inf, 0.6, -np.inf]])


@pytest.mark.slow
def test_predicted_bias_is_that_of_the_estimators():
    """Of 100 random functions: each estimator's own rule over its own noise, by quadrature."""
    rng = np.random.default_rng(4)
    net = {
        "in": rng.uniform(-1.2, 1.2, (COUNT, 4, UNITS)),
        "shift": rng.uniform(-3, 3, (COUNT, 4)),
        "out": rng.uniform(-1, 1, (COUNT, 4)),
    }

    def f(net, z):
        return net["out"] @ jnp.sin(net["in"] @ z + net["shift"])

    def enumerated(estimator, account, dist, eta):
        """Mean of the rule's pull-back over u ~ U[0, 1), cut at p: below it the unit is high."""
        t, w = np.polynomial.legendre.leggauss(5 if account[:1] != (0.0,) else 1)
        t, w = np.tile((t + 1) / 2, 2), np.tile(w / 2, 2)
        path = np.stack(np.meshgrid(*[np.arange(len(t))] * UNITS, indexing="ij"), -1)
        path = path.reshape(-1, UNITS)
        high, t, w = path < len(t) / 2, t[path], w[path]
        p = jnp.broadcast_to(jax.nn.sigmoid(eta), path.shape)
        u = jnp.where(high | (p == 1), p * t, p + (1 - p) * t)  # below 1 in any case
        weight = (jnp.where(high, p, 1 - p) * w).prod(-1)
        rows = jnp.broadcast_to(eta, path.shape)

        def mean(net):
            def total(rows):
                z, _ = estimator.rule.draw(u, rows, dist)
                return jax.vmap(lambda z: f(net, z))(z).sum()

            return weight @ jax.grad(total)(rows)

        return jax.vmap(mean)(net)

    def gradient(dist, eta):
        bits = enumerate_states(UNITS)
        p = jnp.broadcast_to(jax.nn.sigmoid(eta), bits.shape)
        prob = jnp.where(bits, p, 1 - p).prod(-1)
        z = jnp.asarray(np.where(bits, dist.high, dist.low))
        values = jax.vmap(lambda net: jax.vmap(lambda z: f(net, z))(z))(net)
        return jnp.einsum("s,fs,sn->fn", prob, values, bits - p)

    @jax.jit
    def everything(net, eta):
        pairs = []
        for estimator, account, encoding in CASES:
            dist = Bernoulli(*encoding)
            predict = lambda net, account=account, dist=dist: fourier.predicted_bias(
                lambda z: f(net, z), eta, dist, *account, nodes=4 + (dist.span > 3)
            )
            predicted = jax.vmap(predict)(net).total
            pairs.append(
                (predicted, enumerated(estimator, account, dist, eta), gradient(dist, eta))
            )
        return pairs

    with jax.enable_x64(True):
        for eta in LOGITS:
            for predicted, estimate, true in everything(net, eta):
                np.testing.assert_allclose(predicted, estimate - true, atol=1e-6)
                random = np.isfinite(eta)
                assert predicted.dtype == np.float64
                assert (abs(predicted[:, random]) > 1e-5).mean() > 0.9
                assert (predicted[:, ~random] == 0).all()


@pytest.mark.slow
def test_several_functions_at_once():
    f = lambda z: jnp.stack([jnp.stack([z.sum(), (z**3).prod()]), jnp.sin(z)])
    eta = jnp.array([0.5, -0.5])
    together = fourier.predicted_bias(f, eta, SIGNS, delta=0.2, nodes=2)
    assert together.odd.shape == together.even.shape == (2, 2, 2)
    alone = fourier.predicted_bias(lambda z: (z**3).prod(), eta, SIGNS, delta=0.2, nodes=2)
    np.testing.assert_allclose(together.total[0, 1], alone.total, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fourier.transform(np.ones(4), [0.5]), r"1 units: its last axis must be 2\^n"),
        (lambda: fourier.transform(np.ones(2), [1.5]), r"\[n\] in \[0, 1\]"),
        (lambda: fourier.transform(np.ones(2), [np.nan]), r"\[n\] in \[0, 1\]"),
        (lambda: fourier.influences(np.ones(3)), r"\(3,\): its last axis must be 2\^n"),
        (lambda: fourier.noise_operator(np.ones(2), [0.5], 1.1), r"rho=1.1: it must lie"),
        (lambda: fourier.noise_stability(np.ones(2), -0.1), r"rho=-0.1: it must lie"),
        (
            lambda: fourier.discrete_derivative(np.ones(2), [0.5], 1),
            "unit=1: it must lie between 0 and 0",
        ),
        (lambda: fourier.states(21), "n=21: it must lie between 0 and 20"),
        (lambda: fourier.evaluate_basis([2, 0], [0.5, 0.5]), "zeros and ones"),
        (lambda: sampled(degree=3), "degree=3: it must lie between 0 and n=2"),
        (lambda: sampled(num_samples=1), "num_samples=1"),
        (lambda: sampled(f=lambda z: z), "one value per row"),
        (lambda: fourier.predicted_bias(jnp.sum, jnp.zeros((1, 2)), SIGNS), r"eta \(1, 2\)"),
        (lambda: fourier.predicted_bias(jnp.sum, jnp.zeros(2), SIGNS, delta=2.0), "delta=2.0"),
        (lambda: fourier.predicted_bias(jnp.sum, jnp.zeros(9), SIGNS), r"16\^9 times"),
        (lambda: fourier.predicted_bias(jnp.sum, jnp.zeros(1), SIGNS, nodes=0), "nodes=0"),
        (lambda: fourier.taylor_coefficients(jnp.sum, jnp.zeros(1), -1), "order=-1"),
    ],
)
def test_errors_of_the_user(call, message):
    with pytest.raises(FsbError, match=message):
        call()


def sampled(f=lambda z: z[:, 0], degree=1, num_samples=10):
    return fourier.low_degree_coefficients(f, [0.5, 0.5], degree, jax.random.key(0), num_samples)
