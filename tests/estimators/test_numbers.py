"""Figures and theorems of the papers, and the toy problem; one unit throughout."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import oracle as o
import pytest
from scipy.integrate import quad

import fsb

SYMMETRIC = (o.QUARTER, o.HALF, o.ONE)
ENCODINGS = (o.ZERO_ONE, *SYMMETRIC)
FUNCTIONS = {
    "cubic": lambda z: 2 * z**3 - z**2 + z,
    "sin": lambda z: jnp.sin(3 * z + 0.5),
    "exp": lambda z: jnp.exp(1.5 * z),
    "abs": lambda z: jnp.abs(z - 0.3),
    "relu": lambda z: jnp.maximum(2 * z - 0.1, 0),
    "tanh": lambda z: jnp.tanh(4 * z + 1),
}
every_encoding = pytest.mark.parametrize("encoding", ENCODINGS, ids=str)


def draws(estimator, f, eta, encoding=o.ONE, number=2**18):
    """Independent values of one unit and gradients in its logit."""

    def loss(params, sample):
        z = sample("b", fsb.Bernoulli(*encoding), params["eta"])
        return (f(z) + params["probe"] * jax.lax.stop_gradient(z))[:, 0]

    params = {"eta": jnp.full((number, 1), eta), "probe": jnp.zeros((number, 1))}
    grads = fsb.value_and_grad(estimator, loss)(params, jax.random.key(0))[1]
    return [number * np.asarray(grads[name], float)[:, 0] for name in ("probe", "eta")]


def enumerated(estimator, f, eta, encoding=o.ONE):
    """Mean and standard deviation of an estimator whose only noise is the unit's own."""
    z, gradient = draws(estimator, f, eta, encoding, 2**10)
    low, high = (np.unique(gradient[z == value]) for value in encoding)
    assert low.size == high.size == 1  # a function of the value
    p = o.sigmoid(eta)
    mean = (1 - p) * low[0] + p * high[0]
    return mean, np.sqrt(p * (1 - p)) * abs(high[0] - low[0])


def variance_of_mean(eta):
    """p (1 - p)."""
    return o.sigmoid(eta) * o.sigmoid(-eta)


def true(f, eta, encoding=o.ONE):
    low, high = encoding
    return variance_of_mean(eta) * float(f(jnp.float32(high)) - f(jnp.float32(low)))


def assert_mean(gradient, expected, scale):
    """Within 4 standard errors, which are small enough to see one of 3% of the scale."""
    standard_error = gradient.std() / np.sqrt(len(gradient))
    assert 7 * standard_error < 0.03 * abs(scale)
    assert abs(gradient.mean() - expected) < 4 * standard_error + 1e-6


# --- FouST (Pervez et al. 2020)


@pytest.mark.slow
@every_encoding
@pytest.mark.parametrize("reweighing", [True, False])
@pytest.mark.parametrize("delta", [0.0, 0.1])
def test_paper_mode_lacks_exactly_the_jacobian(encoding, reweighing, delta):
    """So at a = 1 it is half of the correct one, and at a = 1/2 they are equal."""
    span = encoding[1] - encoding[0]
    correct, paper = (
        draws(fsb.foust(delta, 1.0, reweighing, mode), FUNCTIONS["sin"], 0.4, encoding, 2**10)
        for mode in ("correct", "paper")
    )
    np.testing.assert_array_equal(correct[0], paper[0])
    np.testing.assert_array_equal(correct[1] / span, paper[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("delta", "mean"),
    [
        (1.0, 1.29166),
        pytest.param(0.2, 0.8010, marks=pytest.mark.slow),
        pytest.param(0.1, 0.7380, marks=pytest.mark.slow),
    ],
)
def test_noise_on_a_part_of_the_interval_moves_the_mean(delta, mean):
    """f = sin 1.7 z + 0.3 z^3, in the mean parameter: true 1.29166, DARN 0.6810."""

    def f(z):
        return jnp.sin(1.7 * z) + 0.3 * z**3

    jacobian = 2 * variance_of_mean(0.4)

    assert true(f, 0.4) / jacobian == pytest.approx(1.29166, abs=1e-5)
    assert enumerated(fsb.darn(), f, 0.4)[0] / jacobian == pytest.approx(0.6810, abs=5e-5)
    _, gradient = draws(fsb.foust(delta), f, 0.4)
    assert_mean(gradient / jacobian, mean, mean)


@pytest.mark.slow
@every_encoding
@pytest.mark.parametrize("name", FUNCTIONS)
def test_full_noise_is_exact_for_any_function_of_one_unit(name, encoding):
    f, eta = FUNCTIONS[name], -0.7
    low, high = encoding
    inside = low + (high - low) * jnp.linspace(0, 1, 99)
    scale = (high - low) * np.abs(jax.vmap(jax.grad(f))(inside)).mean()
    _, gradient = draws(fsb.foust(1.0), f, eta, encoding)
    assert_mean(gradient, true(f, eta, encoding), variance_of_mean(eta) * scale)


@pytest.mark.slow
@every_encoding
def test_foust_goes_to_darn_with_its_noise(encoding):
    f = FUNCTIONS["sin"]
    darn = draws(fsb.darn(), f, 0.4, encoding, 2**10)
    np.testing.assert_allclose(draws(fsb.foust(0.0), f, 0.4, encoding, 2**10), darn, rtol=1e-6)
    errors = [
        np.abs(draws(fsb.foust(delta), f, 0.4, encoding, 2**10)[1] - darn[1]).max()
        for delta in (1e-1, 1e-2)
    ]
    assert 0 < errors[1] < 0.15 * errors[0]


@pytest.mark.slow
@pytest.mark.parametrize("eta", [-1.0, 0.4])
def test_bias_of_straight_through_in_taylor_coefficients(eta):
    """Lemma 2 as it should read: odd k >= 3 give (k - 1) c_k, even k give mu k c_k.

    Reweighing removes the second. As printed, with ST lacking its factor 2, c_1 is biased as well.
    """
    c = np.array([0.0, 0.7, -0.4, 0.3, 0.2, -0.5])
    jacobian, mu = 2 * variance_of_mean(eta), 2 * o.sigmoid(eta) - 1

    def f(z):
        return jnp.polyval(jnp.asarray(c[::-1], jnp.float32), z)

    odd, even = 2 * c[3] + 4 * c[5], mu * (2 * c[2] + 4 * c[4])
    for estimator, bias in ((fsb.st(), odd + even), (fsb.darn(), odd)):
        mean = enumerated(estimator, f, eta)[0]
        assert (mean - true(f, eta)) / jacobian == pytest.approx(bias, abs=1e-5)
    literal = enumerated(fsb.foust(0.0, 1.0, False, "paper"), f, eta)[0]
    correct = enumerated(fsb.st(), f, eta)[0]
    assert literal == pytest.approx(correct / 2)


# --- straight-through and DARN (Shekhovtsov 2021)


@pytest.mark.slow
@every_encoding
def test_straight_through_is_exact_and_noiseless_for_linear_losses(encoding):
    mean, deviation = enumerated(fsb.st(), lambda z: 3 * z + 1, -1.2, encoding)

    assert mean == pytest.approx(true(lambda z: 3 * z + 1, -1.2, encoding), rel=1e-5)
    assert deviation < 1e-6


@pytest.mark.slow
@every_encoding
@pytest.mark.parametrize("eta", [-4.0, -0.5, 2.0])
def test_darn_is_exact_for_quadratic_losses_with_the_variance_of_proposition_8(encoding, eta):
    low, high = encoding

    def f(z):
        return 1.5 * (z - 0.45) ** 2 + z

    p, span = o.sigmoid(eta), high - low
    slope_low, slope_high = (3 * (z - 0.45) + 1 for z in encoding)
    mean, deviation = enumerated(fsb.darn(), f, eta, encoding)
    in_mean = abs((1 - p) * slope_high - p * slope_low) / np.sqrt(4 * p * (1 - p))

    assert mean == pytest.approx(true(f, eta, encoding), rel=1e-4)
    assert deviation == pytest.approx(span * variance_of_mean(eta) * in_mean, rel=1e-4)


@pytest.mark.slow
def test_darn_can_be_worse_than_straight_through():
    """Example 1: |z + a| at a = 0.9, p = 0.95."""
    f, eta = lambda z: jnp.abs(z + 0.9), np.log(19.0)
    jacobian = 2 * variance_of_mean(eta)

    assert true(f, eta) / jacobian == pytest.approx(0.9, abs=1e-5)
    assert enumerated(fsb.st(), f, eta)[0] / jacobian == pytest.approx(0.9, abs=1e-5)
    assert enumerated(fsb.darn(), f, eta)[0] / jacobian == pytest.approx(0, abs=1e-6)


# --- Gumbel-Softmax (Shekhovtsov 2021, Propositions 1, 2, 4 and 5), units in {0, 1}

ETA = 0.8


def density(x):
    """Of the logistic noise."""
    return o.sigmoid(x) * o.sigmoid(-x)


def slope_of_sin(v):
    return 3 * np.cos(3 * v + 0.5)


def relaxed_mean(slope, temperature):
    """Of the oracle that the draws are held against in test_means.py."""
    eta = np.array(ETA)
    weight, v = o.relaxed(temperature, eta, o.ZERO_ONE, nodes=200, cut=0.5)
    return (weight * slope(v) * o.relaxed_slope(temperature, eta, v, o.ZERO_ONE)).sum()


@pytest.mark.slow
def test_bias_of_gumbel_softmax_is_linear_in_the_temperature():
    p = o.sigmoid(ETA)
    integral = quad(lambda v: slope_of_sin(v) * np.log(v / (1 - v)), 0, 1)[0]
    coefficient = -p * (1 - p) * (1 - 2 * p) * integral
    for temperature in (0.02, 0.01):
        bias = relaxed_mean(slope_of_sin, temperature) - true(FUNCTIONS["sin"], ETA, o.ZERO_ONE)
        assert bias / temperature == pytest.approx(coefficient, rel=3 * temperature)


def test_bias_of_gumbel_softmax_for_linear_losses_is_quadratic_in_the_temperature():
    p = o.sigmoid(ETA)
    second = p * (1 - p) * (1 - 6 * p * (1 - p))  # derivative of the density
    bias = relaxed_mean(np.ones_like, 0.05) - density(ETA)
    assert bias / 0.05**2 == pytest.approx(np.pi**2 / 6 * second, rel=0.1)


@pytest.mark.slow
def test_second_moment_of_gumbel_softmax_grows_as_one_over_the_temperature():
    integral = quad(lambda v: slope_of_sin(v) ** 2 * v * (1 - v), 0, 1)[0]
    for temperature in (0.04, 0.02):
        _, gradient = draws(
            fsb.gumbel_softmax(temperature), FUNCTIONS["sin"], ETA, o.ZERO_ONE, 2**20
        )
        moment = temperature * (gradient**2).mean()
        assert moment == pytest.approx(density(ETA) * integral, rel=0.04)


@pytest.mark.slow
def test_straight_through_gumbel_softmax_goes_to_darn_and_its_second_moment_up():
    f, slopes = FUNCTIONS["sin"], slope_of_sin(np.array([0.0, 1.0]))
    darn = enumerated(fsb.darn(), f, ETA, o.ZERO_ONE)[0]
    assert darn == pytest.approx(density(ETA) * slopes.mean(), rel=1e-5)
    tilt = density(ETA) * np.tanh(ETA / 2) * np.diff(slopes)[0] * np.log(2)
    for temperature in (0.04, 0.02):
        _, gradient = draws(fsb.st_gumbel_softmax(temperature), f, ETA, o.ZERO_ONE, 2**20)
        error = 4 * gradient.std() / np.sqrt(len(gradient))
        moment = temperature * (gradient**2).mean()
        # the noise favours the nearer side of the threshold: linear in the temperature
        assert abs(gradient.mean() - darn - temperature * tilt) < error + 2 * temperature**2
        assert moment == pytest.approx(density(ETA) * (slopes**2).sum() / 12, rel=0.04)


@pytest.mark.slow
def test_probability_that_gumbel_softmax_gives_any_gradient():
    temperature, threshold = 0.05, 0.1
    _, gradient = draws(fsb.gumbel_softmax(temperature), lambda z: z, ETA, o.ZERO_ONE)
    edge = (1 + np.sqrt(1 - 4 * threshold * temperature)) / 2
    width = temperature * np.log(edge / (1 - edge))
    probability = o.sigmoid(width - ETA) - o.sigmoid(-width - ETA)
    error = np.sqrt(probability / len(gradient))

    assert (gradient >= threshold).mean() == pytest.approx(probability, abs=4 * error)
    estimate = 2 * temperature * np.log(1 / (temperature * threshold)) * density(ETA)
    assert probability == pytest.approx(estimate, rel=0.03)


# --- the toy problem: E |b - t|^c, whose minimum is p = 0 for t < 1/2


def descend(estimator, targets, starts):
    """The probabilities after plain gradient descent with large batches, a unit a problem."""

    def loss(eta, sample):
        b = sample("b", fsb.Bernoulli(), jnp.broadcast_to(eta, (2**11, eta.size)))
        return ((b - targets) ** 2).sum(-1)

    estimate = fsb.value_and_grad(estimator, loss)

    def step(eta, key):
        return eta - 8 * estimate(eta, key)[1], None

    keys = jax.random.split(jax.random.key(0), 3000)
    return jax.nn.sigmoid(jax.jit(lambda eta: jax.lax.scan(step, eta, keys)[0])(starts))[0]


@pytest.mark.slow
def test_straight_through_stalls_at_the_target_and_darn_and_foust_do_not():
    targets, starts = jnp.array([[0.45, 0.45, 0.499, 0.499]]), jnp.array([[-1.0, 1.0, -1.0, 1.0]])

    assert descend(fsb.st(), targets, starts) == pytest.approx(targets[0].tolist(), abs=0.02)
    for estimator in (fsb.darn(), fsb.foust(0.0)):
        assert (descend(estimator, targets, starts) < jnp.array([0.01, 0.01, 0.1, 0.1])).all()


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.45, 0.499])
@pytest.mark.parametrize("power", [1.5, 2.0, 3.0])
def test_where_estimators_of_the_polynomial_toy_come_to_rest(power, target):
    def f(z):
        return jnp.abs(z - target) ** power

    ratio = (target / (1 - target)) ** (power - 1)
    rest = np.log(ratio)  # where straight-through is zero on average

    assert enumerated(fsb.st(), f, rest, o.ZERO_ONE)[0] == pytest.approx(0, abs=1e-6)
    for eta in (-3.0, rest, 3.0):
        exact, darn = true(f, eta, o.ZERO_ONE), enumerated(fsb.darn(), f, eta, o.ZERO_ONE)[0]
        assert exact > 0
        assert darn > 0
        assert (darn == pytest.approx(exact, rel=1e-2)) == (power == 2)
