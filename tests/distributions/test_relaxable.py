"""The continuous variable behind a discrete draw: its law, its law given the draw, derivatives."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, log_softmax, softmax

from fsb import Bernoulli, Categorical

COUNT = 40_000
LOGITS = np.array([-3.0, -0.4, 0.0, 1.5])
BOOLEAN = np.array([*LOGITS, 1000.0, -1000.0, np.inf, -np.inf], np.float32)
ROWS = np.array([[0.0, 1.0, -2.0, 0.5], [3.0, 3.0, 3.0, 3.0]])
EXTREME = np.float32([[1000, -1000, 0], [-1000, -1000, -1000], [1000, 1000, -1000]])


@functools.partial(jax.jit, static_argnums=(0, 3))
def draws(dist, eta, key, count=COUNT):
    """eta over many examples, noise, draws, and fresh noise."""
    eta = jnp.broadcast_to(jnp.asarray(eta)[None], (count, *np.shape(eta)))
    u, v = (dist.noise(k, eta) for k in jax.random.split(key))
    return eta, u, dist.from_noise(u, eta), v


@pytest.mark.slow
def test_boolean_laws(key):
    """Logistic about the logit, cut at 0 by the draw."""
    dist = Bernoulli(-1.0, 1.0)
    eta, u, hard, v = draws(dist, jnp.float32(LOGITS), key)
    free, given = (np.asarray(x) for x in (dist.perturb(u, eta), dist.conditional(v, eta, hard)))
    np.testing.assert_array_equal(free > 0, hard > 0)
    np.testing.assert_array_equal(given > 0, hard > 0)
    for i, logit in enumerate(LOGITS):
        law = stats.logistic(loc=logit)
        assert stats.kstest(free[:, i], law.cdf).pvalue > 1e-4
        assert stats.kstest(given[:, i], law.cdf).pvalue > 1e-4
        for side, start in ((hard[:, i] > 0, law.cdf(0)), (hard[:, i] < 0, 0.0)):
            z, mass = given[np.asarray(side), i], law.cdf(0) if start == 0 else 1 - law.cdf(0)
            cut = lambda x: (law.cdf(x) - start) / mass  # noqa: B023
            assert stats.kstest(z, cut).pvalue > 1e-4
    depths = np.abs([free[:, 2], given[:, 2]])  # at the logit 0 free of the draw
    assert abs(np.corrcoef(depths)[0, 1]) < 4 / np.sqrt(COUNT)


@pytest.mark.slow
def test_categorical_laws(key):
    """Gumbel about log p; given the draw, the law of what drew it."""
    dist = Categorical()
    eta, u, hard, v = draws(dist, jnp.float32(ROWS), key)
    free, given = (np.asarray(x) for x in (dist.perturb(u, eta), dist.conditional(v, eta, hard)))
    np.testing.assert_array_equal(free.argmax(-1), hard.argmax(-1))
    np.testing.assert_array_equal(given.argmax(-1), hard.argmax(-1))
    log_p = log_softmax(ROWS, -1)
    for unit, k in np.ndindex(ROWS.shape):
        law = stats.gumbel_r(loc=log_p[unit, k])
        assert stats.kstest(free[:, unit, k], law.cdf).pvalue > 1e-4
        assert stats.kstest(given[:, unit, k], law.cdf).pvalue > 1e-4
        chosen = np.asarray(hard[:, unit, k]) > 0
        for side in (chosen, ~chosen):  # half of the draws each: the two are independent
            first, second = (x[side, unit, k] for x in (free, given))
            middle = len(first) // 2
            assert stats.ks_2samp(first[:middle], second[middle:]).pvalue > 1e-4
    for k in range(4):  # jointly too, given the value that was drawn
        chosen = np.asarray(hard[:, 0, k]) > 0
        first, second = (np.cov(np.exp(-x[chosen, 0].T)) for x in (free, given))
        np.testing.assert_allclose(first, second, atol=0.2 * np.diag(first).max())


def textbook_boolean(v, eta, high):
    """Logistic noise from a uniform number that is rescaled to the side drawn."""
    p = 1 / (1 + jnp.exp(-eta))
    rescaled = jnp.where(high, 1 - p + v * p, (1 - p) * (1 - v))
    return eta + jnp.log(rescaled) - jnp.log(1 - rescaled)


def textbook_categorical(u, eta, hard):
    """Of the drawn value -log(-log u); of the others -log(-log(u) / p - log(u_drawn))."""
    drawn = (hard * jnp.log(u)).sum(-1, keepdims=True)
    others = -jnp.log(-jnp.log(u) / jax.nn.softmax(eta) - drawn)
    return jnp.where(hard > 0, -jnp.log(-jnp.log(u)), others)


def compare(found, expected, eta):
    """Values and derivatives, in each direction of eta's last axis."""

    @jax.jit
    def both(eta):
        units = jnp.eye(eta.shape[-1])
        directions = [jnp.broadcast_to(unit, eta.shape) for unit in units]
        return [
            [f(eta), *(jax.jvp(f, (eta,), (d,))[1] for d in directions)] for f in (found, expected)
        ]

    for a, b in zip(*both(eta), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_boolean_values_and_derivatives():
    u = np.linspace(0.001, 0.999, 23)[:, None]
    with jax.enable_x64(True):
        dist = Bernoulli(2.0, 5.0)
        eta, noise = (jnp.asarray(x) for x in np.broadcast_arrays(LOGITS[None], u))
        found = dist.perturb(noise, eta)
        np.testing.assert_allclose(found, eta + np.log((1 - u) / u), rtol=1e-9)
        for high in (True, False):
            hard = jnp.full(eta.shape, 5.0 if high else 2.0)
            compare(
                lambda eta: dist.conditional(noise, eta, hard),  # noqa: B023
                lambda eta: textbook_boolean(noise, eta, high),  # noqa: B023
                eta,
            )


@pytest.mark.slow
def test_categorical_values_and_derivatives():
    u = np.random.default_rng(0).uniform(0.01, 0.99, (5, 1, 4))
    with jax.enable_x64(True):
        dist = Categorical()
        eta, u = (jnp.asarray(x) for x in np.broadcast_arrays(ROWS[None], u))
        gumbel = -jnp.log(-jnp.log(u))
        found = dist.perturb(gumbel, eta)
        np.testing.assert_allclose(found, log_softmax(ROWS, -1)[None] + gumbel, rtol=1e-12)
        for k in range(4):
            hard = jnp.zeros(eta.shape).at[..., k].set(1)
            compare(
                lambda eta: dist.conditional(gumbel, eta, hard),  # noqa: B023
                lambda eta: textbook_categorical(u, eta, hard),  # noqa: B023
                eta,
            )


@pytest.mark.slow
def test_softened_values():
    zeta = jnp.float32([-3.0, -0.1, 0.2, 4.0])
    boolean, categorical = Bernoulli(-0.5, 2.0), Categorical()
    found = boolean.soften(zeta, 0.7)
    np.testing.assert_allclose(found, -0.5 + 2.5 * expit(zeta / 0.7), rtol=1e-6)
    np.testing.assert_allclose(boolean.soften(zeta, 1e-3), [-0.5, -0.5, 2, 2], atol=1e-6)
    np.testing.assert_allclose(categorical.soften(zeta, 0.7), softmax(zeta / 0.7), rtol=1e-5)
    np.testing.assert_allclose(categorical.soften(zeta, 1e-3), [0, 0, 0, 1], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("dist", "logits"), [(Bernoulli(), BOOLEAN), (Categorical(), EXTREME)])
def test_finite_at_any_logit_and_flat_where_certain(dist, logits, key):
    """Twice differentiable too, and in the temperature."""
    eta, u, hard, v = draws(dist, logits, key, 50)

    def smooth(eta, temperature):
        zetas = dist.perturb(u, eta), dist.conditional(v, eta, hard)
        return [dist.soften(zeta, temperature) for zeta in zetas]

    def slope(eta, temperature):
        weights = jnp.cos(jnp.arange(eta.size)).reshape(eta.shape)
        return jax.grad(lambda e: sum((weights * x).sum() for x in smooth(e, temperature)))(eta)

    @jax.jit
    def everything(eta):
        point, ones = (eta, jnp.float32(0.1)), (jnp.ones_like(eta), jnp.float32(1))
        return smooth(*point), jax.jvp(slope, point, ones), jax.jacfwd(slope, 1)(*point)

    values, slopes, mixed = everything(eta)
    for found in (*values, *slopes, mixed):
        assert np.isfinite(found).all()
    certain = slice(4, None) if dist == Bernoulli() else slice(0, 1)
    for found in (*slopes, mixed):
        np.testing.assert_allclose(found[:, certain], 0, atol=1e-6)
    assert np.abs(slopes[0]).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("dist", "logits"), [(Bernoulli(), LOGITS), (Categorical(), ROWS)])
def test_coarse_logits_keep_fine_values(dist, logits, key):
    coarse, u, hard, v = draws(dist, jnp.bfloat16(logits), key, 100)
    fine = coarse.astype(jnp.float32)
    for found, expected in (
        (dist.perturb(u, coarse), dist.perturb(u, fine)),
        (dist.conditional(v, coarse, hard), dist.conditional(v, fine, hard.astype(jnp.float32))),
    ):
        assert found.dtype == jnp.float32
        np.testing.assert_array_equal(found, expected)
    slope = jax.grad(lambda eta: dist.conditional(v, eta, hard).sum())(coarse)
    assert slope.dtype == jnp.bfloat16
