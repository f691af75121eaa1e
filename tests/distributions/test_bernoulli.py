"""Boolean units: draws, moments, densities and all their derivatives, in any encoding."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit, log_expit

import fsb
from fsb import Bernoulli, FsbError

ENCODINGS = ((0.0, 1.0), (-1.0, 1.0), (-0.25, 0.25), (2.0, 5.0))
LOGITS = np.array([-5.0, -1.3, -0.2, 0.0, 0.7, 2.5])
EXTREME = np.array([0.0, 1000.0, -1000.0, np.inf, -np.inf], np.float32)
TWO = pytest.mark.parametrize("dist", [Bernoulli(), Bernoulli(2.0, 5.0)], ids=str)
EVERY = pytest.mark.parametrize("dist", [Bernoulli(*e) for e in ENCODINGS], ids=str)


def cross_entropy(eta, b):
    """The textbook formula, for differentiation in double precision."""
    p = 1 / (1 + jnp.exp(-eta))
    return b * jnp.log(p) + (1 - b) * jnp.log(1 - p)


def plain_entropy(eta):
    p = 1 / (1 + jnp.exp(-eta))
    return -cross_entropy(eta, 0.0) * (1 - p) - p * jnp.log(p)


@pytest.mark.slow
@TWO
def test_frequencies(dist, key):
    count = 200_000
    z = np.asarray(dist.sample(key, jnp.broadcast_to(jnp.float32(LOGITS)[None], (count, 6))))
    assert set(np.unique(z)) == {dist.low, dist.high}
    p = expit(LOGITS)
    error = np.sqrt(p * (1 - p) / count)
    assert error.max() < 0.0012
    assert (abs((z == dist.high).mean(0) - p) < 4 * error).all()
    together = np.corrcoef(z[:, 1:5].T)[np.triu_indices(4, 1)]
    assert abs(together).max() < 4 / np.sqrt(count)


@pytest.mark.slow
def test_certain_units_do_not_vary(key):
    eta = jnp.broadcast_to(jnp.float32([np.inf, -np.inf, 1000, -1000])[None], (10_000, 4))
    z = np.asarray(Bernoulli(-1.0, 1.0).sample(key, eta))
    np.testing.assert_array_equal(z, np.broadcast_to([1, -1, 1, -1], z.shape))


def test_from_noise_is_high_below_the_probability():
    p = expit(LOGITS)
    dist = Bernoulli(-1.0, 1.0)
    for u, z in ((p - 1e-5, 1.0), (p + 1e-5, -1.0)):
        np.testing.assert_array_equal(dist.from_noise(jnp.float32(u), jnp.float32(LOGITS)), z)


@pytest.mark.slow
@EVERY
def test_values_in_double_precision(dist):
    p = expit(LOGITS)
    with jax.enable_x64(True):
        eta = jnp.asarray(LOGITS)
        reference = [
            (dist.mean(eta), dist.low + (dist.high - dist.low) * p),
            (dist.entropy(eta), stats.bernoulli.entropy(p)),
            (dist.log_prob(eta, jnp.full(6, dist.high)), log_expit(LOGITS)),
            (dist.log_prob(eta, jnp.full(6, dist.low)), log_expit(-LOGITS)),
            (dist.support(eta), [dist.low, dist.high]),
        ]
        for found, expected in reference:
            assert found.dtype == jnp.float64
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@TWO
def test_first_and_second_derivatives(dist):
    """Of the log-probability in logit and value, relaxed values included, and of the entropy."""
    grid = np.stack(np.meshgrid(LOGITS, np.linspace(-0.2, 1.2, 5)), -1).reshape(-1, 2)
    with jax.enable_x64(True):
        eta, b = jnp.asarray(grid).T
        z = dist.low + (dist.high - dist.low) * b

        def textbook(eta, z):
            return cross_entropy(eta, (z - dist.low) / (dist.high - dist.low))

        def textbook_mean(eta):
            return dist.low + (dist.high - dist.low) / (1 + jnp.exp(-eta))

        def derivatives(log_prob, entropy, mean):
            """Gradients and second derivatives, at every point."""
            found = [jax.vmap(d(log_prob, (0, 1)))(eta, z) for d in (jax.grad, jax.hessian)]
            for function in (entropy, mean):
                slope = jax.grad(function)
                found += [jax.vmap(slope)(eta), jax.vmap(jax.grad(slope))(eta)]
            return jax.tree.leaves(found)

        found = jax.jit(lambda: derivatives(dist.log_prob, dist.entropy, dist.mean))()
        expected = jax.jit(lambda: derivatives(textbook, plain_entropy, textbook_mean))()
        for f, e in zip(found, expected, strict=True):
            np.testing.assert_allclose(f, e, rtol=1e-7, atol=1e-10)


@pytest.mark.slow
def test_derivatives_against_finite_differences():
    dist, step = Bernoulli(-1.0, 1.0), 1e-5
    with jax.enable_x64(True):
        for function in (dist.entropy, lambda eta: dist.log_prob(eta, 0.3 + 0 * eta)):
            for f in (function, lambda eta: jax.jvp(function, (eta,), (jnp.ones_like(eta),))[1]):  # noqa: B023
                eta = jnp.asarray(LOGITS)
                tangent = jax.jvp(f, (eta,), (jnp.ones_like(eta),))[1]
                difference = (f(eta + step) - f(eta - step)) / (2 * step)
                np.testing.assert_allclose(tangent, difference, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
@TWO
def test_all_is_finite_at_any_logit(dist):
    @jax.jit
    def everything(eta, z):
        found = [dist.log_prob(eta, z), dist.entropy(eta), dist.mean(eta)]
        for order in (jax.grad, jax.hessian):
            found += [jax.vmap(order(dist.log_prob, (0, 1)))(eta, z)]
            found += [jax.vmap(order(f))(eta) for f in (dist.entropy, dist.mean)]
        return found

    eta = jnp.asarray(EXTREME)
    for z in (dist.low, dist.high, 0.5 * (dist.low + dist.high)):
        for leaf in jax.tree.leaves(everything(eta, jnp.full(eta.shape, z))):
            assert np.isfinite(leaf).all()


@pytest.mark.slow
def test_what_is_certain_has_no_entropy_and_no_surprise():
    dist, eta = Bernoulli(), jnp.asarray(EXTREME)
    np.testing.assert_allclose(dist.entropy(eta), [np.log(2), 0, 0, 0, 0], rtol=1e-6)
    drawn = jnp.float32([1, 1, 0, 1, 0])
    np.testing.assert_allclose(dist.log_prob(eta, drawn), [-np.log(2), 0, 0, 0, 0], rtol=1e-6)
    slope = jax.vmap(jax.grad(dist.log_prob))(eta, drawn)
    np.testing.assert_allclose(slope, [0.5, 0, 0, 0, 0])
    np.testing.assert_allclose(dist.log_prob(eta, 1 - drawn)[1:3], -1000)
    np.testing.assert_allclose(jax.vmap(jax.grad(dist.log_prob))(eta, 1 - drawn)[1:], [-1, 1] * 2)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_results_have_the_dtype_of_the_logits(dtype, key):
    with jax.enable_x64(dtype == "float64"):
        eta, dist = jnp.asarray(LOGITS, dtype), Bernoulli(-1.0, 1.0)
        z = dist.sample(key, eta)
        for found in (
            z,
            dist.mean(eta),
            dist.entropy(eta),
            dist.log_prob(eta, z),
            dist.support(eta),
            dist.decode(z),
            jax.grad(lambda eta: dist.log_prob(eta, z).sum())(eta),
            jax.grad(lambda eta: dist.entropy(eta).sum())(eta),
        ):
            assert found.dtype == dtype
        tolerance = 0.01 if dtype == "bfloat16" else 1e-6
        expected = stats.bernoulli.entropy(expit(np.float64(eta)))
        np.testing.assert_allclose(np.float64(dist.entropy(eta)), expected, atol=tolerance)


@pytest.mark.slow
def test_coarse_logits_get_fine_noise(key):
    """Noise of eight bits would make a probability of 0.0025 one of 0 or 0.004."""
    z = Bernoulli().sample(key, jnp.full((1_000_000,), -6, jnp.bfloat16))
    p = expit(-6.0)
    assert abs(float(z.astype(jnp.float32).mean()) - p) < 4 * np.sqrt(p / 1e6) < 0.1 * p


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (1.0, -1.0), (0.0, float("nan"))])
def test_low_must_be_below_high(low, high):
    with pytest.raises(FsbError, match="low must be below high"):
        Bernoulli(low, high)


@pytest.mark.slow
def test_one_cannot_differentiate_through_a_draw(key):
    """Without an estimator the derivative of a draw is zero, never something plausible."""
    assert not Bernoulli.reparameterized
    assert (
        jax.grad(lambda eta: Bernoulli().sample(key, eta).sum())(jnp.zeros(3)).tolist() == [0] * 3
    )
    assert fsb.Bernoulli() == Bernoulli(0.0, 1.0)
    assert hash(Bernoulli(-1.0, 1.0)) == hash(Bernoulli(-1.0, 1.0))


logits = st.floats(-50, 50, width=32)
lows = st.floats(-10, 10, width=32, allow_subnormal=False)  # XLA takes subnormals for 0
encodings = st.tuples(lows, st.floats(0.125, 20, width=32))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(eta=logits, encoding=encodings, bit=st.floats(0, 1, width=32))
def test_properties(eta, encoding, bit):
    low, span = encoding
    dist, eta = Bernoulli(low, low + span), jnp.float32([eta])
    bit = jnp.float32([bit])
    both = np.float64(dist.log_prob(jnp.stack([eta, eta]), jnp.float32([[low], [low + span]])))
    assert np.exp(both).sum() == pytest.approx(1, abs=1e-5)
    p = expit(np.float64(eta[0]))
    assert float(dist.mean(eta)[0]) == pytest.approx(low + span * p, abs=1e-5 * (abs(low) + span))
    assert -1e-6 < float(dist.entropy(eta)[0]) < np.log(2) + 1e-6
    np.testing.assert_allclose(dist.entropy(eta), dist.entropy(-eta), atol=1e-6)
    np.testing.assert_allclose(dist.decode(dist.encode(bit)), bit, atol=1e-4)
    mixed = (1 - bit) * both[0] + bit * both[1]  # linear in the value
    found = dist.log_prob(eta, jnp.float32(low + span * bit))
    np.testing.assert_allclose(found, mixed, rtol=1e-3, atol=1e-2)
    assert set(np.asarray(dist.encode(jnp.float32([0, 1])))) == {
        np.float32(low),
        np.float32(dist.high),
    }
