"""Gaussian units."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fsb import FsbError, Normal

LOC, SCALE = np.array([-3.0, 0.0, 0.5, 20.0]), np.array([0.1, 1.0, 3.0, 0.5])
POINTS = LOC + SCALE * np.array([-2.0, 0.3, 1.0, 4.0])


@pytest.mark.slow
def test_draws(key):
    count = 200_000
    eta = [jnp.broadcast_to(jnp.float32(x)[None], (count, 4)) for x in (LOC, SCALE)]
    z = np.asarray(Normal().sample(key, tuple(eta)), np.float64)
    standard = (z - LOC) / SCALE
    for moment, expected, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        error = np.sqrt(spread / count)
        assert (abs((standard**moment).mean(0) - expected) < 4 * error).all()
    assert stats.kstest(standard[:, 2], "norm").pvalue > 1e-4
    assert abs(np.corrcoef(z.T)[np.triu_indices(4, 1)]).max() < 4 / np.sqrt(count)


@pytest.mark.slow
def test_values_in_double_precision():
    with jax.enable_x64(True):
        eta, z = (jnp.asarray(LOC), jnp.asarray(SCALE)), jnp.asarray(POINTS)
        for found, expected in (
            (Normal().log_prob(eta, z), stats.norm.logpdf(POINTS, LOC, SCALE)),
            (Normal().entropy(eta), stats.norm.entropy(LOC, SCALE)),
            (Normal().mean(eta), LOC),
            (Normal().decode(z), POINTS),
        ):
            assert found.dtype == jnp.float64
            np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.slow
def test_derivatives_against_finite_differences():
    step = 1e-6
    with jax.enable_x64(True):
        arguments = [jnp.asarray(x) for x in (LOC, SCALE, POINTS)]
        log_prob = lambda loc, scale, z: Normal().log_prob((loc, scale), z)
        for i in range(3):
            slope = jax.vmap(jax.grad(log_prob, i))(*arguments)
            up, down = (
                [*arguments[:i], arguments[i] + s, *arguments[i + 1 :]] for s in (step, -step)
            )
            difference = (log_prob(*up) - log_prob(*down)) / (2 * step)
            np.testing.assert_allclose(slope, difference, rtol=1e-6, atol=1e-6)
        entropy_of = lambda scale: Normal().entropy((jnp.zeros_like(scale), scale))
        entropy = jax.vmap(jax.grad(entropy_of))(arguments[1])
        np.testing.assert_allclose(entropy, 1 / SCALE)


@pytest.mark.slow
def test_the_draw_is_differentiable(key):
    assert Normal.reparameterized
    eta = (jnp.float32(LOC), jnp.float32(SCALE))
    z, (d_loc, d_scale) = Normal().sample(key, eta), jax.jacobian(Normal().sample, 1)(key, eta)
    np.testing.assert_allclose(d_loc, np.eye(4))
    np.testing.assert_allclose(d_scale, np.diag((z - LOC) / SCALE), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_results_have_the_dtype_of_the_parameters(dtype, key):
    with jax.enable_x64(dtype == "float64"):
        eta = (jnp.asarray(LOC, dtype), jnp.asarray(SCALE, dtype))
        z = Normal().sample(key, eta)
        for found in (z, Normal().mean(eta), Normal().entropy(eta), Normal().log_prob(eta, z)):
            assert found.dtype == dtype


def test_it_cannot_be_enumerated():
    with pytest.raises(FsbError, match="Normal has infinitely many values"):
        Normal().support((jnp.zeros(1), jnp.ones(1)))


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    loc=st.floats(-50, 50, width=32),
    scale=st.floats(0.125, 50, width=32),
    t=st.floats(-5, 5, width=32),
)
def test_properties(loc, scale, t):
    eta = (jnp.float32([loc]), jnp.float32([scale]))
    up, down = (
        float(Normal().log_prob(eta, jnp.float32([loc + s * scale * t]))[0]) for s in (1, -1)
    )
    assert up == pytest.approx(down, rel=1e-2, abs=1e-2)  # symmetric
    assert up <= float(Normal().log_prob(eta, eta[0])[0]) + 1e-6  # the mode
    assert up == pytest.approx(stats.norm.logpdf(t) - np.log(scale), rel=1e-2, abs=1e-2)
