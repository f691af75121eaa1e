"""Binary weights: the slope against its definition, the updates against plain loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.integrate import quad

from fsb.bayesbinn import bayesbinn, bayesbinn_released, det_ste_decay
from fsb.errors import FsbError


@functools.partial(jax.jit, static_argnums=0)
def drawn(rule, key, lam):
    """The weights and the slope that the rule gives each."""
    weights, pull = jax.vjp(lambda lam: rule.weights(key, lam), lam)
    return weights, pull(jnp.ones_like(weights))[0]


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_slope_is_the_derivative_of_the_draw_in_the_mean(temperature, key):
    """Proposition 6: J = dw/dmu at fixed noise, by central differences."""
    rule, step = bayesbinn(0.1, temperature, 10), 1e-6
    with jax.enable_x64(True):
        mu = jnp.tile(jnp.array([-0.9, -0.3, 0.0, 0.5, 0.99]), (200, 1))
        _, slope = drawn(rule, key, jnp.arctanh(mu))
        high, low = (drawn(rule, key, jnp.arctanh(mu + h))[0] for h in (step, -step))
        difference = (high - low) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-5, atol=1e-7)
    assert np.ptp(slope) > 1


N = 400_000


@pytest.mark.slow
@pytest.mark.parametrize(("temperature", "lam"), [(0.5, 0.7), (0.05, -0.4)])
def test_law_of_the_weight_and_moments_of_its_slope(temperature, lam, key):
    """Draws against the logistic distribution of the noise, and integrals over it."""
    rule = bayesbinn(0.1, temperature, 1)
    w, slope = map(np.float64, drawn(rule, key, jnp.full(N, lam)))
    for c in (-0.9, 0.0, 0.7):
        p = 1 / (1 + np.exp(-2 * (temperature * np.arctanh(c) - lam)))
        assert abs((w < c).mean() - p) < 4 * np.sqrt(p * (1 - p) / N)
    for power in (1, 2):
        expected = moment(temperature, lam, power)
        error = (slope**power).std() / np.sqrt(N)
        assert error < 0.015 * expected
        assert abs((slope**power).mean() - expected) < 4 * error


def moment(temperature, lam, power):
    """E J^power as an integral over w, from the density of the noise 2 s(2 delta) s(-2 delta)."""

    def integrand(w):
        delta = temperature * np.arctanh(w) - lam
        density = 0.5 / np.cosh(delta) ** 2 * temperature / (1 - w**2)
        return density * ((1 - w**2) * np.cosh(lam) ** 2 / temperature) ** power

    return quad(integrand, -1, 1, epsabs=1e-12)[0]


def test_second_moment_grows_as_one_over_the_temperature():
    """Proposition 2 in the mean: E J^2 -> 2 / (3 tau (1 - mu^2)); E J -> 1."""
    for temperature in (1e-2, 1e-3):
        limit = 2 * np.cosh(0.4) ** 2 / (3 * temperature)
        assert moment(temperature, 0.4, 2) == pytest.approx(limit, rel=temperature)
        assert moment(temperature, 0.4, 1) == pytest.approx(1, rel=temperature)


@pytest.mark.slow
@pytest.mark.parametrize(("temperature", "epsilon"), [(1.0, 1e-10), (1e-2, 1e-3), (1e-10, 1e-10)])
def test_slope_of_the_published_code(temperature, epsilon, key):
    """Equation 15, in double precision."""
    rule = bayesbinn_released(0.1, 10, temperature, epsilon)
    with jax.enable_x64(True):
        lam = jnp.linspace(-9, 9, 181)
        w, slope = map(np.asarray, drawn(rule, key, lam))
    expected = (1 - w**2 + epsilon) / (temperature * (1 - np.tanh(lam) ** 2 + epsilon))
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


def test_slope_saturates(key):
    """The values that the paper and its appendix B give, in single precision."""
    lam = jnp.array([1.0, -5.0, 10.0, -15.0, 1000.0])
    w, slope = drawn(bayesbinn_released(1e-4, 50_000), key, lam)
    np.testing.assert_array_equal(w[1:], [-1, 1, -1, 1])
    np.testing.assert_allclose(slope, [2.381, 5.507e3, 1.198e8, 1e10, 1e10], rtol=5e-3)
    published = 1e-10 / (1e-10 * (1 - np.tanh(np.float32(10)) ** 2 + np.float32(1e-10)))
    assert published == pytest.approx(1e10)  # its float32 has no start-up phase from |lam| = 10


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_extremes_are_finite(dtype, key):
    lam = np.tile(np.array([-1e6, -1000.0, -50.0, 0.0, 50.0, 1000.0], dtype), (400, 1))
    rules = (bayesbinn(0.1, 1.0, 10), bayesbinn(0.1, 1e-10, 10), bayesbinn_released(0.1, 10))
    for rule in rules[:: 1 if dtype == jnp.float32 else 2]:
        w, slope = drawn(rule, key, lam)
        assert w.dtype == slope.dtype == dtype
        w, slope = np.float32(w), np.float32(slope)
        assert np.isfinite(slope).all()
        assert (np.abs(w) <= 1).all()
        np.testing.assert_array_equal(w[:, 4:], 1)
    # Where 1 - w^2 and 1 - mu^2 are both 0 in float32, their ratio is exp(-2 delta): logistic.
    noise = np.log(np.float32(drawn(rules[0], key, lam)[1][:, 5]))
    assert abs(noise.mean()) < 0.4
    assert abs(noise.std() - np.pi / np.sqrt(3)) < 0.3


def by_hand(lam, grads, rates, size, momentum):
    """Equation 16 with a running mean that has no bias: a plain loop in double precision."""
    lam, mean = np.float64(lam), 0.0
    for t, (g, rate) in enumerate(zip(np.float64(grads), rates, strict=True), start=1):
        mean = momentum * mean + (1 - momentum) * (size * g + lam)
        lam = lam - rate * mean / (1 - momentum**t)
    return lam


@pytest.mark.slow
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_updates_against_a_loop(momentum, key):
    schedule = optax.cosine_decay_schedule(0.2, 40)
    rates = [0.2 * (1 + np.cos(np.pi * t / 40)) / 2 for t in range(20)]
    keys = jax.random.split(key)
    lam, grads = jax.random.normal(keys[0], (3,)), jax.random.normal(keys[1], (20, 3))
    sizes = {1: det_ste_decay(schedule, momentum), 7: bayesbinn(schedule, 0.5, 7, momentum)}

    def final(rule):
        def step(carry, g):
            updates, state = rule.update({"w": g}, carry[1], carry[0])
            return (optax.apply_updates(carry[0], updates), state), None

        start = {"w": lam}
        return jax.lax.scan(step, (start, rule.init(start)), grads)[0][0]["w"]

    chained = lambda rule: optax.chain(optax.clip(10.0), rule, optax.scale(1.0))
    found = jax.jit(lambda: {n: (final(r), final(chained(r))) for n, r in sizes.items()})()
    for size, both in found.items():
        expected = by_hand(lam, grads, rates, size, momentum)
        for one in both:
            np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-5)


def test_each_leaf_has_its_own_noise(key):
    rule = bayesbinn(0.1, 0.5, 10)
    weights = jax.jit(rule.weights)(key, {"a": np.zeros((2, 3)), "b": np.zeros((2, 3))})
    assert (np.asarray(weights["a"]) != np.asarray(weights["b"])).all()


def task():
    """Points [1000, 24] and their classes, by a linear classifier with weights -1 and 1."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 24))
    return np.float32(x), (x @ rng.choice([-1, 1], (24, 5))).argmax(-1)


def trained(rules, lams, start, count):
    """A linear classifier under several rules, each by itself, on the same batches of 100."""
    x, y = map(jnp.asarray, task())

    def step(i, carry):
        key = jax.random.fold_in(jax.random.key(1), i)
        rows = jax.random.randint(key, (100,), 0, len(y))

        def loss(lam, rule):
            logits = x[rows] @ rule.weights(key, lam)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y[rows]).mean()

        new = []
        for rule, (lam, state) in zip(rules, carry, strict=True):
            updates, state = rule.update(jax.grad(loss)(lam, rule), state, lam)
            new.append((optax.apply_updates(lam, updates), state))
        return new

    carry = [(lam, rule.init(lam)) for rule, lam in zip(rules, lams, strict=True)]
    done = jax.lax.fori_loop(start, start + count, step, carry)
    return [lam for lam, _ in done]


def agreement(a, b):
    return ((a < 0) == (b < 0)).mean()


@pytest.mark.slow
def test_released_is_deterministic_straight_through_after_its_start(key):
    """Proposition 7; nor does N or the temperature matter. In float32 rounding parts the two."""
    rate, settings = 1e-3, [(1000, 1e-10), (100_000, 1e-9)]
    released = tuple(bayesbinn_released(rate, n, tau) for n, tau in settings)
    with jax.enable_x64(True):
        lam = np.random.default_rng(0).choice([-10.0, 10.0], (24, 5))

        @jax.jit
        def run():
            (begun,) = trained(released[:1], [jnp.asarray(lam)], 0, 30)
            scaled = [begun * 1e-10 / 1000 * n / tau for n, tau in settings]
            rules = (*released, det_ste_decay(rate))
            return begun, trained(rules, [*scaled, begun * 1e-10 / 1000], 30, 300)

        begun, (first, *others) = jax.tree.map(np.asarray, run())
    assert np.abs(begun).min() > 12
    assert agreement(lam, begun) < 0.9
    assert agreement(begun, first) < 0.98  # signs change in the steps that are compared as well
    assert min(agreement(first, other) for other in others) > 0.99
    np.testing.assert_allclose(others[-1] * 1000 / 1e-10, first, rtol=1e-4)


@pytest.mark.slow
def test_the_form_as_derived_learns_at_a_moderate_temperature_alone(key):
    """At the published one the noise never meets lam: nothing but the decay acts."""
    rules = (bayesbinn(1e-3, 0.5, 1000), bayesbinn(1e-3, 1e-10, 1000))
    lam = np.random.default_rng(0).choice(np.float32([-0.1, 0.1]), (24, 5))
    warm, cold = map(np.asarray, jax.jit(lambda: trained(rules, [lam] * 2, 0, 200))())
    x, y = task()
    assert ((x @ np.sign(lam)).argmax(-1) == y).mean() < 0.4
    assert ((x @ np.sign(warm)).argmax(-1) == y).mean() > 0.9
    np.testing.assert_allclose(cold, lam * 0.999**200, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: bayesbinn(0.0, 0.5, 10), r"learning_rate=0.0: it must lie in \(0, 1\]"),
        (lambda: det_ste_decay(1.5), "learning_rate=1.5"),
        (lambda: det_ste_decay(float("nan")), "learning_rate=nan"),
        (lambda: bayesbinn(0.1, 0.0, 10), "temperature=0.0: it must be positive and finite"),
        (lambda: bayesbinn_released(0.1, 10, float("inf")), "temperature=inf"),
        (lambda: bayesbinn(0.1, 0.5, 0), "train_size=0: it must be at least 1"),
        (lambda: bayesbinn_released(0.1, 10, epsilon=0.0), "epsilon=0.0: it must be positive"),
        (lambda: bayesbinn_released(0.1, 10, epsilon=float("nan")), "epsilon=nan"),
        (lambda: det_ste_decay(0.1, momentum=1.0), r"momentum=1.0: it must lie in \[0, 1\)"),
    ],
)
def test_refuses(make, says):
    with pytest.raises(FsbError, match=says):
        make()
