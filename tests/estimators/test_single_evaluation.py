"""Identities, limits and refusals of the estimators that need one evaluation of the loss."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import categorical_oracle as c
import jax
import jax.numpy as jnp
import numpy as np
import oracle as o
import pytest
from contract import BERNOULLI_ROWS, named
from scipy.integrate import quad

import fsb

DARN = fsb.darn()
EXACT_FOR_QUADRATICS = ZGR, REINMAX, _ = (fsb.zgr(), fsb.reinmax(), fsb.mve(math.inf))
RNG = np.random.default_rng(0)


def pulled(estimator, dist, noise, eta, g):
    """The value that the noise draws, and what the estimator makes of a cotangent g of it."""
    (found,) = pull_back(estimator.rule, (dist,), noise, eta, g)
    return [np.asarray(x, float) for x in found]


@partial(jax.jit, static_argnums=(0, 1))
def pull_back(rule, dists, noise, eta, g):
    """``pulled`` of every distribution: one program."""

    def pair(dist):
        own = rule.noise(jax.random.key(0), eta, dist)
        given = (noise, own[1]) if isinstance(own, tuple) else noise
        z, pull = jax.vjp(lambda eta: rule.draw(given, eta, dist)[0], eta)
        return z, *pull(g)

    return [pair(dist) for dist in dists]


def jacobians(estimator, eta):
    """W [D, row, column] of one unit, value by value."""
    k = len(eta)
    drawn, column = np.eye(k).repeat(k, 0), np.tile(np.eye(k), (k, 1))
    noise, logits = jnp.float32(1e4 * drawn), jnp.float32(np.tile(eta, (k * k, 1)))
    z, estimates = pulled(estimator, fsb.Categorical(), noise, logits, jnp.float32(column))
    np.testing.assert_array_equal(z, drawn)
    return estimates.reshape(k, k, k).swapaxes(1, 2)


def slopes_in(encodings, estimator, log_odds):
    """By encoding: slopes of the low value and of the high one, [2, units]."""
    eta = jnp.float32(np.tile(log_odds, (2, 1)))
    noise = jnp.float32([[1], [-1]]) * jnp.ones_like(eta)  # below no p, below every p
    dists = tuple(fsb.Bernoulli(*encoding) for encoding in encodings)
    found = pull_back(estimator.rule, dists, noise, eta, jnp.ones_like(eta))
    for (z, _), encoding in zip(found, encodings, strict=True):
        np.testing.assert_allclose(z, np.array(encoding)[:, None] * np.ones(eta.shape), rtol=1e-6)
    return [np.asarray(slopes, float) for _, slopes in found]


def boolean_slopes(estimator, log_odds, encoding=o.ZERO_ONE):
    """Slopes of the low value and of the high one, [2, units]."""
    return slopes_in([encoding], estimator, log_odds)[0]


@pytest.mark.slow
@pytest.mark.parametrize("row", **named([row for row in BERNOULLI_ROWS if row.by_formula]))
def test_slopes_of_boolean_units_in_every_encoding(row):
    log_odds, estimator = np.linspace(-4, 4, 17), row.make()
    encodings = (o.ZERO_ONE, o.QUARTER, o.HALF, o.ONE)
    for encoding, slopes in zip(encodings, slopes_in(encodings, estimator, log_odds), strict=True):
        for slope, z in zip(slopes, encoding, strict=True):
            expected = row.slope(log_odds, np.full(log_odds.shape, z), encoding)
            np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("k", range(2, 9))
def test_reinmax_at_one_is_zgr(k):
    eta = 2 * RNG.normal(size=k)
    np.testing.assert_allclose(jacobians(REINMAX, eta), jacobians(ZGR, eta), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", [o.ZERO_ONE, o.QUARTER, o.ONE], ids=str)
def test_boolean_estimators_exact_for_quadratics_are_all_darn(encoding):
    log_odds = np.linspace(-8, 8, 33)
    for estimator in EXACT_FOR_QUADRATICS:
        np.testing.assert_allclose(
            boolean_slopes(estimator, log_odds, encoding),
            boolean_slopes(DARN, log_odds, encoding),
            rtol=3e-6,
        )


@pytest.mark.slow
@pytest.mark.parametrize("k", [3, 5])
def test_unbiased_for_every_quadratic_of_a_unit(k):
    """E W_z A z = J diag(A) / 2 for the loss z^T A z / 2, all symmetric A."""
    eta = RNG.normal(size=k)
    p = c.softmax(eta)
    for estimator in EXACT_FOR_QUADRATICS:
        w = jacobians(estimator, eta)
        for _ in range(4):
            a = RNG.normal(size=(k, k))
            a = a + a.T
            mean = np.einsum("i,irj,ji->r", p, w, a)
            np.testing.assert_allclose(mean, c.of_softmax(p) @ np.diag(a) / 2, atol=2e-6)


@pytest.mark.slow
def test_mve_trades_variance_for_bias():
    eta = np.array([1.0, 0.0, -0.5, 0.3])
    p, j = c.softmax(eta), c.mean_jacobian(np.array([1.0, 0.0, -0.5, 0.3]), None)
    variance, bias = [], []
    for t in (0.0, 0.5, 5.0, 100.0, math.inf):
        w = jacobians(fsb.mve(t), eta)
        variance.append(np.einsum("i,irj,irj", p, w, w))
        v = p[:, None, None] * w.swapaxes(1, 2)  # [i, j, r]
        bias.append(((v + v.swapaxes(0, 1)) / 2 - np.eye(4)[:, :, None] * j / 2) ** 2)
        np.testing.assert_allclose(v.sum(0).T, j, atol=1e-6)  # right for linear losses
    bias = [b.sum() for b in bias]
    assert all(np.diff(variance) > 0)
    assert all(np.diff(bias) < 0)
    assert bias[-1] < 1e-10
    zgr = jacobians(fsb.zgr(), eta)
    assert variance[-1] < 0.999 * np.einsum("i,irj,irj", p, zgr, zgr)


@pytest.mark.slow
@pytest.mark.parametrize("t", [0.0, 1.0, 7.0, 1e4])
def test_mve_of_boolean_units_in_closed_form(t):
    log_odds = np.linspace(-8, 8, 33)
    v = o.sigmoid(log_odds) * o.sigmoid(-log_odds)
    for slope, other in zip(boolean_slopes(fsb.mve(t), log_odds), (1, -1), strict=True):
        closed = v * (1 + t * o.sigmoid(other * log_odds)) / (1 + 2 * t * v)
        np.testing.assert_allclose(slope, closed, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("t", "tolerance"), [(1.0, 1e-6), (100.0, 1e-5), (1e4, 3e-4), (math.inf, 3e-6)]
)
def test_mve_of_many_and_improbable_values(t, tolerance):
    """Single precision against double, for draws with probabilities down to 1e-6."""
    rng = np.random.default_rng(0)
    eta = np.float32(rng.normal(size=(8, 12)) * np.linspace(1, 6, 8)[:, None])
    g, noise = rng.normal(size=eta.shape), 1e4 * np.eye(12)[rng.integers(0, 12, 8)]
    z, estimates = pulled(fsb.mve(t), fsb.Categorical(), *map(jnp.float32, (noise, eta, g)))
    formula = c.exact_for_quadratics if t == math.inf else partial(c.least_squares, t)
    expected = (formula(np.float64(eta), z) @ g[..., None])[..., 0]
    np.testing.assert_allclose(estimates, expected, atol=tolerance)


def expected_slope(temperature, log_odds):
    """Adaptive quadrature over the logistic noise above -log_odds, of the derivative itself."""

    def integrand(k):  # v = sigmoid(k)
        noise = temperature * k - log_odds
        density = o.sigmoid(noise) * o.sigmoid(-noise)
        return density * o.sigmoid(k) * o.sigmoid(-k)

    ends = pairwise([0, 2, 6, 14, 30])
    total = sum(quad(integrand, *pair, epsabs=1e-12, epsrel=1e-7)[0] for pair in ends)
    return total / o.sigmoid(log_odds)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.05, 0.1, 0.5, 1.0])
def test_quadrature_of_boolean_gumbel_rao(temperature):
    log_odds = np.linspace(-8, 8, 17)
    low, high = boolean_slopes(fsb.gumbel_rao(temperature), log_odds)
    expected = np.array([expected_slope(temperature, x) for x in log_odds])
    np.testing.assert_allclose(high, expected, rtol=3e-6)
    np.testing.assert_allclose(low, expected[::-1], rtol=3e-6)


@pytest.mark.slow
def test_boolean_gumbel_rao_goes_to_darn():
    log_odds = np.linspace(-8, 8, 17)
    darn = boolean_slopes(fsb.darn(), log_odds)
    errors = [
        np.abs(boolean_slopes(fsb.gumbel_rao(tau), log_odds) / darn - 1).max()
        for tau in (1e-2, 1e-3)
    ]
    assert 0 < errors[1] < 0.15 * errors[0] < 0.15 * 0.03


@pytest.mark.slow
def test_categorical_gumbel_rao_goes_to_zgr():
    """So does the mean of ST-Gumbel-Softmax, which is the same given the draw."""
    eta, drawn = np.tile([0.5, -1.0, 0.2], (3, 1)), np.eye(3)
    zgr = c.zgr(eta, drawn)
    errors = [np.abs(c.expected_relaxed(t, eta, drawn, 16) - zgr).max() for t in (0.2, 0.05)]
    assert errors[1] < 0.35 * errors[0]
    assert errors[1] < 0.02

    number = 1000
    noise = jnp.float32(1e4 * drawn.repeat(number, 0))
    logits, g = jnp.float32(eta.repeat(number, 0)), np.array([1.0, -0.5, 2.0])
    estimator = fsb.gumbel_rao(0.05, samples=100)
    _, draws = pulled(
        estimator, fsb.Categorical(), noise, logits, jnp.float32(np.tile(g, (3 * number, 1)))
    )
    draws = draws.reshape(3, number, 3)
    error = 5 * draws.std(1) / np.sqrt(number)
    assert error.max() < 0.04
    assert (np.abs(draws.mean(1) - zgr @ g) < error + 0.02).all()


@pytest.mark.slow
def test_samples_lower_the_variance_of_gumbel_rao():
    first = jnp.float32(np.tile(np.eye(3)[0], (4000, 1)))
    eta = jnp.float32(np.tile([0.5, -1.0, 0.2], (4000, 1)))
    spread = {
        samples: pulled(fsb.gumbel_rao(0.5, samples), fsb.Categorical(), 1e4 * first, eta, first)[
            1
        ].var(0)
        for samples in (1, 16)
    }
    np.testing.assert_allclose(spread[16], spread[1] / 16, rtol=0.2)


@pytest.mark.slow
def test_the_bias_of_boolean_reinmax_rao():
    """For a linear loss, over the gradient; to twice DARN at the midpoint as tau -> 0."""
    log_odds = np.array([-4.0, 0.0, 4.0])
    p = o.sigmoid(log_odds)

    def mean(tau):
        low, high = boolean_slopes(fsb.reinmax_rao(tau), log_odds)
        return (p * high + (1 - p) * low) / (p * (1 - p))

    np.testing.assert_allclose(mean(1.0), [2.53, 0.59, 2.53], atol=0.005)
    np.testing.assert_allclose(mean(1e-3), 0.5, atol=1e-3)

    rest = o.sigmoid(-12.0)  # of a unit that is nearly certain: no digit is lost
    expected = 2 * expected_slope(0.5, np.log(2 / rest - 1)) - (1 - rest) * rest / 2
    _, (high,) = boolean_slopes(fsb.reinmax_rao(0.5), np.array([12.0]))
    np.testing.assert_allclose(high, expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("dist", [fsb.Bernoulli(-0.25, 1.0), fsb.Categorical()])
def test_what_reinmax_cv_adds_draw_by_draw(dist):
    """Gumbel-Rao less one relaxed derivative, at the midpoint of mean and draw."""
    eta, g = jnp.float32(RNG.normal(size=(2, 50, 3)))
    weight, tau, count = 0.8, 0.6, 4
    rule, key = fsb.reinmax_cv(2.0, weight, tau, count).rule, jax.random.key(4)
    own, (one, many) = rule.noise(key, eta, dist)
    z, pull = jax.vjp(lambda eta: rule.draw((own, (one, many)), eta, dist)[0], eta)
    expected, plain = pulled(fsb.reinmax(2.0), dist, own, eta, g)
    np.testing.assert_array_equal(z, expected)
    added = (np.asarray(pull(g)[0], float) - plain) / weight

    def relaxed(noise, middle, z):
        return np.float64(dist.soften(dist.conditional(noise, middle, z), tau))

    if isinstance(dist, fsb.Categorical):
        middle = jnp.log((jax.nn.softmax(eta) + z) / 2)
        jacobian = lambda v: np.einsum("...ij,...j->...i", c.of_softmax(v), np.float64(g)) / tau
        rest = [jacobian(relaxed(many[:, i], middle, z)) for i in range(count)]
        mean, single = np.mean(rest, 0), jacobian(relaxed(one, middle, z))
    else:
        low, high = 0.25, 1.0
        b = (np.float64(z) + low) / (high + low)
        q = (o.sigmoid(np.float64(eta)) + b) / 2
        middle = np.log(q / (1 - q))
        v = (relaxed(one, jnp.float32(middle), z) + low) / (high + low)
        slope = o.expected_relaxed_slope(tau, middle, b, o.ZERO_ONE)
        mean, single = (1.25 * np.float64(g) * x for x in (slope, v * (1 - v) / tau))
    np.testing.assert_allclose(added, mean - single, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("dist", [fsb.Bernoulli(-0.25, 1.0), fsb.Categorical()])
def test_decoupled_temperatures_divide_the_logits_alone(dist):
    """The draw is that of eta / 2; the slope is that of temperature 1 at eta / 0.7."""
    eta, g = jnp.float32(RNG.normal(size=(2, 200, 3)))
    noise = dist.noise(jax.random.key(3), eta)
    z, slopes = pulled(fsb.decoupled_st_gumbel_softmax(2.0, 0.7), dist, noise, eta, g)
    np.testing.assert_array_equal(z, dist.from_noise(noise, eta / 2))
    assert (z != dist.from_noise(noise, eta)).any()
    _, at_one = pulled(fsb.st_gumbel_softmax(1.0), dist, noise, eta / 0.7, g)
    np.testing.assert_allclose(slopes, at_one / 0.7, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, 5])
def test_redge_step_by_step(steps):
    """Draw and derivative, given the noise; a Boolean unit is one of the logits eta and 0."""
    end, rule = 0.3, fsb.redge(0.3, steps).rule
    eta, x, g = RNG.normal(size=(3, 50, 3))
    dist, gumbel = fsb.Categorical(), RNG.gumbel(size=eta.shape)
    z, slopes = drawn_with(rule, (gumbel, x), eta, g, dist)
    for i in range(len(eta)):
        v = c.denoised(end, steps, eta[i] + 1e-20j * np.eye(3), x[i, None])[:, 0]
        np.testing.assert_array_equal(z[i], c.argmax(np.log(v[0].real) + gumbel[i]))
        np.testing.assert_allclose(slopes[i], 1e20 * v.imag @ g[i], rtol=2e-3, atol=2e-4)

    dist, u = fsb.Bernoulli(-0.25, 1.0), RNG.uniform(size=eta.shape)
    z, slopes = drawn_with(rule, (u, x), eta, g, dist)
    logits, noised = np.zeros((2, *eta.shape, 2))
    logits[..., 0], noised[..., 0] = eta, np.sqrt(2) * x
    v = c.denoised(end, steps, logits + np.array([1e-20j, 0]), noised[..., None, :])[..., 0, 0]
    np.testing.assert_array_equal(z, np.where(u < v.real, 1.0, -0.25))
    np.testing.assert_allclose(slopes, 1.25e20 * v.imag * g, rtol=2e-3, atol=2e-4)


def drawn_with(rule, noise, eta, g, dist):
    """The value that a rule draws, and what it makes of its cotangent g."""
    eta, g, *noise = map(jnp.float32, (eta, g, *noise))
    z, pull = jax.vjp(lambda eta: rule.draw(noise, eta, dist)[0], eta)
    return np.asarray(z), np.asarray(pull(g)[0])


@pytest.mark.slow
@pytest.mark.parametrize("dist", [fsb.Bernoulli(-0.25, 1.0), fsb.Categorical()])
def test_redge_that_ends_at_one_is_straight_through(dist):
    eta, g = jnp.float32(RNG.normal(size=(2, 200, 3)))
    noise = dist.noise(jax.random.key(3), eta)
    found, expected = (pulled(e, dist, noise, eta, g) for e in (fsb.redge(1.0, 2), fsb.st()))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_deterministic_straight_through_takes_the_most_probable_value():
    eta = jnp.float32(RNG.normal(size=(6, 2, 4)))

    def loss(eta, sample):
        return (jnp.arange(4.0).reshape(1, 1, 4) * sample("z", fsb.Categorical(), eta)).sum((1, 2))

    value, grads = fsb.value_and_grad(fsb.deterministic_st(), loss)(eta, jax.random.key(0))
    _, identity = fsb.value_and_grad(fsb.deterministic_st("identity"), loss)(eta, jax.random.key(1))
    assert value == pytest.approx(float(eta.argmax(-1).sum(1).mean()))
    expected = c.of_softmax(c.softmax(np.float64(eta))) @ np.arange(4.0)
    np.testing.assert_allclose(6 * grads, expected, atol=1e-6)
    np.testing.assert_allclose(6 * identity, np.broadcast_to(np.arange(4.0), eta.shape))


@pytest.mark.slow
def test_certain_units_in_every_setting():
    """No gradient for logits of any size where the drawn value has all the probability."""
    for estimator in (
        fsb.darn("mean"),
        fsb.mve(math.inf),
        fsb.mve(1e4),
        fsb.gst(0.7, "probability"),
        fsb.gumbel_rao(5.0),
        fsb.reinmax_rao(0.5),
        fsb.redge(0.3),
        fsb.reinmax_cv(2.0),
    ):
        for log_odds, drawn in ((np.array([1000, np.inf]), 1), (np.array([-1000, -np.inf]), 0)):
            np.testing.assert_array_equal(boolean_slopes(estimator, log_odds)[drawn], 0)
        w = jacobians(estimator, np.array([-1000.0, 1000.0, 0.0]))
        assert np.isfinite(w).all()
        np.testing.assert_array_equal(w[1], 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fsb.darn("median"), "centre: unknown 'median'"),
        (lambda: fsb.reinmax(0.0), "temperature=0.0"),
        (lambda: fsb.gumbel_rao(-1.0), "temperature=-1.0"),
        (lambda: fsb.decoupled_st_gumbel_softmax(0.0), "forward_temperature=0.0"),
        (lambda: fsb.decoupled_st_gumbel_softmax(1.0, -1.0), "backward_temperature=-1.0"),
        (lambda: fsb.gumbel_rao(samples=0), "samples=0"),
        (lambda: fsb.gumbel_rao(nodes=0), "nodes=0"),
        (lambda: fsb.reinmax_rao(nodes=0), "reinmax_rao: nodes=0"),
        (lambda: fsb.reinmax_cv(relaxation=0.0), "relaxation=0.0"),
        (lambda: fsb.reinmax_cv(samples=0), "reinmax_cv: samples=0"),
        (lambda: fsb.redge(0.0), "redge: end=0.0"),
        (lambda: fsb.redge(steps=1), "redge: steps=1"),
        (lambda: fsb.gst(math.inf), "temperature=inf"),
        (lambda: fsb.gst(gap=-0.1), "gap=-0.1"),
        (lambda: fsb.gst(gap="wide"), "gap='wide'"),
        (lambda: fsb.mve(-1.0), "t=-1.0"),
        (lambda: fsb.mve(math.nan), "t=nan"),
        (lambda: fsb.mve(1e5), "t=100000.0"),
    ],
)
def test_arguments_that_make_no_sense(make, words):
    with pytest.raises(fsb.FsbError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_mve_refuses_a_large_system():
    def loss(eta, sample):
        return sample("z", fsb.Categorical(), eta)[:, 0]

    _, grads = fsb.value_and_grad(fsb.mve(), loss)(jnp.zeros((2, 64)), jax.random.key(0))
    np.testing.assert_allclose(grads.sum(-1), 0, atol=1e-6)
    assert (grads[:, 0] > 0).all()
    with pytest.raises(fsb.FsbError, match=r"site 'z': mve: 65 values per unit: at most 64"):
        fsb.value_and_grad(fsb.mve(), loss)(jnp.zeros((2, 65)), jax.random.key(0))
