"""Antithetic, coupled and flipped draws, Double CV and RODEO, against NumPy formulas.

Each estimate is compared draw by draw with a formula written out here; sums of that formula over
all states of a tiny network then give its mean and variance without any sampling.
"""

from __future__ import annotations

import functools
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fsb
from fsb.estimators._attach import branch
from fsb.estimators.arms import companions, debias
from fsb.estimators.disarm import antithesis
from fsb.sites import Site, ancestral, bind, replay, site_key

KEY = jax.random.key(3)
RNG = np.random.default_rng(1)


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(x, float)))


def states(n):
    return np.array(list(itertools.product((0.0, 1.0), repeat=n)))


def assert_variance(draws, variance):
    """The variance of draws [N, ...], within 5 standard errors of at most 5%."""
    squares = (draws - draws.mean(0)) ** 2
    standard_error = squares.std(0) / np.sqrt(len(draws))
    assert (standard_error < 0.05 * variance).all()
    assert (np.abs(squares.mean(0) - variance) < 5 * standard_error).all()


# --- one layer of three units: draws that are branched off a run

NUMBER = 2**15
ETA = np.array([-1.65, 1.55, 1.65])  # all but 1.55 have min(p, 1 - p) < 1/6: UGC flips them
P = sigmoid(ETA)
MIX = RNG.normal(size=(3, 4))
TRUE = np.einsum(
    "s,s,sd->d",
    np.prod(np.where(states(3) > 0, P, 1 - P), -1),
    np.sin(states(3) @ MIX).sum(-1),
    states(3) - P,
)


def f(b):
    return np.sin(b @ MIX).sum(-1)


def layer(params, sample):
    z = sample("b", fsb.Bernoulli(-1.0, 1.0), params["eta"])
    probe = (params["probe"] * jax.lax.stop_gradient(z)).sum(-1)
    return jnp.sin((z + 1) / 2 @ jnp.float32(MIX)).sum(-1) + probe


def gradients(estimator, eta):
    """Values b [N, 3] of the run, and gradients [N, 3], for eta [N, 3]."""
    params = {"eta": jnp.float32(eta), "probe": jnp.zeros(eta.shape)}
    grads = jax.jit(fsb.value_and_grad(estimator, layer))(params, KEY)[1]
    z, g = (len(eta) * np.asarray(grads[name], float) for name in ("probe", "eta"))
    return np.round((z + 1) / 2), g


@functools.cache
def draws(make):
    """The same for examples that are all alike."""
    return gradients(make(), np.tile(ETA, (NUMBER, 1)))


def noise():
    return np.asarray(jax.random.uniform(site_key(KEY, "b"), (NUMBER, 3)), float)


def pairs(u):
    """(b, b') that u and 1 - u draw."""
    return (u < P) * 1.0, (1 - u < P) * 1.0


def cells():
    """The cube of u, cut where b or b' jumps: weights, midpoints and widths of the boxes."""
    cuts = [np.sort([0, p, 1 - p, 1]) for p in P]
    boxes = list(itertools.product(*[list(itertools.pairwise(c)) for c in cuts]))
    low, high = np.moveaxis(np.array(boxes), -1, 0)
    return np.prod(high - low, -1), (low + high) / 2, high - low


def arm_by_hand(u):
    b, other = pairs(u)
    return (f(other) - f(b))[:, None] * (u - 0.5)


def disarm_by_hand(b, other):
    sign = 2 * b - 1
    return 0.5 * (f(b) - f(other))[:, None] * sign * (b != other) * np.maximum(P, 1 - P)


def flip_by_hand(b, unit):
    """With one unit a row at both of its values."""
    one = np.eye(3)[unit]
    difference = f(b * (1 - one) + one) - f(b * (1 - one))
    return 3 * one * P * (1 - P) * difference[:, None]


@pytest.mark.slow
def test_arm_and_disarm_draw_by_draw():
    u = noise()
    b, g = draws(fsb.arm)
    np.testing.assert_array_equal(b, pairs(u)[0])
    np.testing.assert_allclose(g, arm_by_hand(u), atol=1e-5)
    b, g = draws(fsb.disarm)
    np.testing.assert_allclose(g, disarm_by_hand(*pairs(u)), atol=1e-5)


def test_disarm_is_the_mean_of_arm_and_has_less_variance():
    """Moments by quadrature: exact, for between the jumps ARM is linear in u."""
    weight, middle, width = cells()
    change = f(pairs(middle)[1]) - f(pairs(middle)[0])
    arm, disarm = arm_by_hand(middle), disarm_by_hand(*pairs(middle))
    np.testing.assert_allclose(weight @ arm, TRUE, rtol=1e-12)
    np.testing.assert_allclose(weight @ disarm, TRUE, rtol=1e-12)
    np.testing.assert_allclose(disarm, arm, atol=1e-14)  # the mean of u, given the pair
    within = weight @ (change[:, None] ** 2 * width**2 / 12)
    variances = [weight @ (g * g) - TRUE**2 for g in (arm, disarm)]
    assert_variance(draws(fsb.arm)[1], variances[0] + within)
    assert_variance(draws(fsb.disarm)[1], variances[1])
    assert (variances[1] < variances[0] + within).all()


@pytest.mark.slow
def test_two_coupled_draws_are_disarm():
    logits = np.array([*ETA, 0.0, 20.0, -20.0, 1000.0, -np.inf, 0.1])
    eta = np.repeat(logits.reshape(3, 3), 256, 0)
    disarm, arms = (gradients(e, eta)[1] for e in (fsb.disarm(), fsb.arms(2)))
    np.testing.assert_allclose(disarm, arms, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("samples", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_arms_draw_by_draw(samples):
    eta = np.tile(ETA, (2**12, 1))
    site = bind(layer, {"eta": jnp.float32(eta), "probe": jnp.zeros(eta.shape)})(ancestral(KEY))
    site = site[1][0]
    b = (1 + np.array([site.z, *companions(site, KEY, samples)], float)) / 2
    m = np.minimum(P, 1 - P)
    both = np.maximum(2 * m ** (1 / (samples - 1)) - 1, 0) ** (samples - 1)
    both = np.where(P < 0.5, both, 2 * P - 1 + both)
    np.testing.assert_allclose(b.mean(1), np.broadcast_to(P, (samples, 3)), atol=0.03)
    for i, j in itertools.combinations(range(samples), 2):
        np.testing.assert_allclose((b[i] * b[j]).mean(0), both, atol=0.03)
    values = f(b)
    expected = ((values - values.mean(0))[..., None] * (b - P)).sum(0) / (samples - 1)
    expected = expected * P * (1 - P) / (P - both)
    np.testing.assert_allclose(gradients(fsb.arms(samples), eta)[1], expected, atol=1e-5)


@pytest.mark.slow
def test_variance_of_three_coupled_draws():
    """Of one unit, for which the estimate is 0 unless the three differ, and else a constant."""

    def loss(eta, sample):
        return 2.0 * sample("b", fsb.Bernoulli(), eta)[:, 0]

    p = np.array([0.2, 0.5, 0.7, 0.9])
    eta = jnp.float32(np.repeat(np.log(p / (1 - p)), NUMBER)[:, None])
    grads = jax.jit(fsb.value_and_grad(fsb.arms(3), loss))(eta, KEY)[1]
    for p_, g in zip(p, len(eta) * np.asarray(grads, float).reshape(4, -1), strict=True):
        m = min(p_, 1 - p_)
        both = max(2 * np.sqrt(m) - 1, 0) ** 2  # with u < m
        differ = 3 * (m - both)  # expected number of neighbours that differ, over 2
        value = 2 * (2 / 3) / 2 * p_ * (1 - p_) / (m - both)
        np.testing.assert_allclose(g[np.abs(g) > 1e-3], value, rtol=1e-4)
        np.testing.assert_allclose(differ * value, 2 * p_ * (1 - p_))  # unbiased
        probability = (np.abs(g) > 1e-3).mean()
        standard_error = np.sqrt(differ * (1 - differ) / NUMBER) if differ < 1 else 0
        assert abs(probability - differ) <= 5 * standard_error


@pytest.mark.slow
def test_the_factor_of_arms_everywhere():
    eta = jnp.array([0.0, 1e-6, 1.0, 20.0, 200.0, 1000.0, jnp.inf])
    for samples in (2, 3, 100):
        factor = debias(eta, samples)
        assert ((factor >= 0.5) & (factor <= 1)).all()
        np.testing.assert_array_equal(factor, debias(-eta, samples))
        np.testing.assert_array_equal(factor[-2:], 1)
    np.testing.assert_allclose(debias(eta[0], 3), 0.25 / (0.5 - (np.sqrt(2) - 1) ** 2), rtol=1e-5)


@pytest.mark.slow
def test_bitflip_draw_by_draw_and_its_exact_moments():
    b, g = draws(fsb.bitflip)
    unit = np.abs(g).argmax(-1)
    assert (np.bincount(unit) > 0.32 * NUMBER).all()
    np.testing.assert_allclose(g, flip_by_hand(b, unit), atol=1e-5)
    first, second = flip_moments()
    np.testing.assert_allclose(first, TRUE, rtol=1e-12)
    assert_variance(g, second - TRUE**2)


def flip_moments():
    """First and second, by the sum over all states and choices of a unit."""
    weight = np.prod(np.where(states(3) > 0, P, 1 - P), -1) / 3
    terms = [flip_by_hand(states(3), np.full(8, j)) for j in range(3)]
    return [sum(weight @ t**power for t in terms) for power in (1, 2)]


@pytest.mark.slow
def test_ugc_draw_by_draw_and_with_less_variance():
    flipped, pair, g = (draws(make)[1] for make in (fsb.bitflip, fsb.disarm, fsb.ugc))
    nearly_certain = np.array([True, False, True])
    np.testing.assert_allclose(g, np.where(nearly_certain, flipped, pair), atol=1e-6)
    weight, middle, _ = cells()
    second = weight @ disarm_by_hand(*pairs(middle)) ** 2
    assert (flip_moments()[1] < 0.95 * second)[nearly_certain].all()


@pytest.mark.slow
def test_a_certain_unit_stays_where_it_is():
    """Whatever the noise: 0 is among its values, and 1 - 0 must not be 1."""

    class Least(fsb.Bernoulli):
        def noise(self, key, eta):
            return jnp.zeros(eta.shape)

    eta = jnp.array([[20.0, 1000.0, jnp.inf, -1000.0, -jnp.inf]])
    z = Least().sample(KEY, eta)
    np.testing.assert_array_equal(z, eta > 0)
    site = Site("b", Least(), eta, z, z, noise=jnp.zeros(eta.shape))
    np.testing.assert_array_equal(antithesis(site)[1], z)
    for samples in (2, 4):
        coupled = companions(site, KEY, samples)
        np.testing.assert_array_equal(coupled, np.broadcast_to(z, coupled.shape))


# --- two layers of two units: estimators of several full runs

DIST = (fsb.Bernoulli(-1.0, 1.0), fsb.Bernoulli())
OFFSET = np.array([[0.4, -0.8], [-0.5, 0.3]])
WEIGHT = np.array([[0.7, -1.2], [0.9, 0.4]])
LEFT, RIGHT = RNG.normal(size=(2, 2, 3))


def chain(params, sample):
    z = sample("z", DIST[0], params["offset"][:, 0])
    eta = params["offset"][:, 1] + jnp.einsum("bi,bij->bj", z, params["weight"])
    y = sample("y", DIST[1], eta)
    return jnp.sin(z @ jnp.float32(LEFT) + y @ jnp.float32(RIGHT)).sum(-1) + (z * y).sum(-1) ** 2


def chain_params(number):
    params = {"offset": np.tile(OFFSET, (number, 1, 1)), "weight": np.tile(WEIGHT, (number, 1, 1))}
    return jax.tree.map(jnp.float32, params)


@pytest.mark.slow
def test_a_branch_holds_what_is_above_and_redraws_what_is_below():
    run = bind(chain, chain_params(64))
    _, sites = run(ancestral(KEY))
    y = 1 - sites[1].z
    held = run(replay({"z": sites[0].z, "y": y}))[0]
    other = ancestral(jax.random.key(99))
    np.testing.assert_array_equal(branch(run, sites, 1, None, y, other), held)
    below = replay({"z": -sites[0].z}, other)
    np.testing.assert_array_equal(branch(run, sites, 0, None, -sites[0].z, other), run(below)[0])


class Runs:
    """By hand: n runs at values z, y [n, ..., 2]; eta, p, losses and their partial derivatives."""

    def __init__(self, z, y):
        self.values = (z, y)
        self.eta = (np.broadcast_to(OFFSET[0], z.shape), OFFSET[1] + z @ WEIGHT)
        self.bits = ((z + 1) / 2, y)
        self.p = tuple(sigmoid(eta) for eta in self.eta)
        self.mean = (2 * self.p[0] - 1, self.p[1])
        self.span = (2.0, 1.0)
        wave, product = z @ LEFT + y @ RIGHT, (z * y).sum(-1)
        self.losses = np.sin(wave).sum(-1) + product**2
        self.slopes = (
            np.cos(wave) @ LEFT.T + 2 * product[..., None] * y,
            np.cos(wave) @ RIGHT.T + 2 * product[..., None] * z,
        )
        self.weight = np.prod(
            [np.where(b > 0, p, 1 - p) for b, p in zip(self.bits, self.p, strict=True)], (0, -1)
        )

    def gradients(self, g):
        """Of the offsets and weights [..., 2, 2], from estimates in the eta of each run."""
        weight = (self.values[0][..., :, None] * g[1][..., None, :]).mean(0)
        return {"offset": np.stack([x.mean(0) for x in g], -2), "weight": weight}


def every(samples):
    """All joint values of n runs: [n, 16^n, 2] each, and their probabilities."""
    one = states(4)
    index = np.array(list(itertools.product(range(16), repeat=samples))).T
    runs = Runs(2 * one[index][..., :2] - 1, one[index][..., 2:])
    return runs, runs.weight.prod(0)


def true_gradient():
    runs, weight = every(1)
    g = [runs.losses[..., None] * (b - p) for b, p in zip(runs.bits, runs.p, strict=True)]
    return jax.tree.map(lambda x: np.tensordot(weight, x, 1), runs.gradients(g))


def double_cv_by_hand(runs, alphas):
    n, alphas = len(runs.losses), np.asarray(alphas, float)
    layers, g = range(2), [np.zeros_like(p) for p in runs.p]

    def others(i, x):
        return sum(x[j] for j in range(n) if j != i) / (n - 1)

    def controlled(i):
        return runs.losses[i] + sum(
            alphas[k] * (others(i, runs.slopes[k]) * (runs.values[k][i] - runs.mean[k][i])).sum(-1)
            for k in layers
        )

    for i, k in itertools.product(range(n), layers):
        signal = controlled(i) - sum(controlled(j) for j in range(n) if j != i) / (n - 1)
        p = runs.p[k][i]
        correction = alphas[k] * others(i, runs.slopes[k]) * runs.span[k] * p * (1 - p)
        g[k][i] = signal[..., None] * (runs.bits[k][i] - p) - correction
    return g


def rodeo_by_hand(runs, control):
    n = len(runs.losses)
    g = [np.zeros_like(p) for p in runs.p]

    def h(i, k, z, head):
        """h of run i at values z of layer k, from the other runs."""
        total = 0
        for j in range(n):
            if j != i:
                slope = runs.slopes[k][j]
                taylor = [(slope * (z - c)).sum(-1) for c in (runs.values[k][j], runs.mean[k][i])]
                x = np.stack([runs.losses[j], *taylor, np.ones_like(taylor[0])], -1)
                y = x @ np.asarray(control[k]["inner"], float)
                y = np.where(y > 0, y, 0.3 * y) @ np.asarray(control[k]["outer"], float)
                total = total + y[..., head] + taylor[1]
        return total / (n - 1)

    def operator(i, k, function):
        """A of a function of the layer's values, at those of run i."""
        z, total = runs.values[k][i], 0
        for m in range(2):
            unit = np.eye(2)[m]
            high = runs.bits[k][i] > 0
            flipped = z + unit * runs.span[k] * np.where(high, -1, 1)
            q = np.where(high, 1 - runs.p[k][i], runs.p[k][i])[..., m]
            difference = function(flipped) - function(z)
            total = total + q.reshape(q.shape + (1,) * (difference.ndim - q.ndim)) * difference
        return total

    def baseline(j):
        return runs.losses[j] + sum(
            float(control[k]["alpha"]) * operator(j, k, partial(h, j, k, head=0)) for k in range(2)
        )

    for i, k in itertools.product(range(n), range(2)):
        p = runs.p[k][i]

        def vector(z, i=i, k=k, p=p):
            bits = (z + 1) / 2 if k == 0 else z
            return h(i, k, z, 1)[..., None] * (bits - p)

        signal = runs.losses[i] - sum(baseline(j) for j in range(n) if j != i) / (n - 1)
        extra = float(control[k]["beta"]) * operator(i, k, vector)
        g[k][i] = signal[..., None] * (runs.bits[k][i] - p) + extra
    return g


def random_control():
    """Far from the first one, so that no part of the network is idle."""
    control, _ = fsb.init(fsb.rodeo(hidden=5), chain, chain_params(1), KEY)
    noise = np.random.default_rng(4)
    return jax.tree.map(lambda x: x + jnp.float32(noise.normal(size=x.shape)), control)


BY_HAND = {  # name: estimator with n runs, formula, control
    "double_cv": (
        partial(fsb.double_cv, learn=True),
        double_cv_by_hand,
        lambda: jnp.float32([-0.8, 1.3]),
    ),
    "rodeo": (partial(fsb.rodeo, hidden=5, every=3), rodeo_by_hand, random_control),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_HAND)
def test_joint_over_layers_draw_by_draw(name):
    """Value, estimate, and descent of the second moment, by differences in alpha and beta."""
    make, formula, make_control = BY_HAND[name]
    control, number, samples = make_control(), 64, 3
    estimate = jax.jit(fsb.stateful_value_and_grad(make(samples), chain))
    out = estimate(chain_params(number), control, (), KEY)
    sites = [jax.jit(plain_sites)(key) for key in jax.random.split(KEY, samples)]
    runs = Runs(*(np.array([s[k].z for s in sites], float) for k in range(2)))
    g = formula(runs, control)
    np.testing.assert_allclose(out.value, runs.losses.mean(), rtol=1e-5)
    for part, expected in runs.gradients(g).items():
        got = number * np.asarray(out.params[part])
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)

    def moment(control):
        learn = slice(None, None, 3 if name == "rodeo" else 1)
        return sum((g.mean(0)[learn] ** 2).sum(-1).mean() for g in formula(runs, control))

    def shifted(k, part, by):
        if name == "double_cv":
            return control.at[k].add(by)
        return [dict(c, **{part: c[part] + by}) if i == k else c for i, c in enumerate(control)]

    for k, part in itertools.product(range(2), ("alpha", "beta")):
        up, down = (moment(shifted(k, part, by)) for by in (0.5, -0.5))
        got = out.control[k] if name == "double_cv" else out.control[k][part]
        np.testing.assert_allclose(got, up - down, rtol=2e-3, atol=1e-3)


def plain_sites(key):
    return bind(chain, chain_params(64))(ancestral(key))[1]


@pytest.mark.parametrize("name", BY_HAND)
def test_joint_over_layers_unbiased_in_the_sum_over_all_pairs_of_runs(name):
    """So the terms across layers vanish, for controls far from the best."""
    _, formula, make_control = BY_HAND[name]
    runs, weight = every(2)
    estimates = runs.gradients(formula(runs, make_control()))
    mean = jax.tree.map(lambda x: np.tensordot(weight, x, 1), estimates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), mean, true_gradient())


@pytest.mark.slow
def test_variance_of_double_cv_by_the_sum_over_all_pairs_of_runs():
    runs, weight = every(2)
    exact = runs.gradients(double_cv_by_hand(runs, [-1.0, -1.0]))
    number = 2**15
    estimate = jax.jit(fsb.value_and_grad(fsb.double_cv(2, -1.0, learn=False), chain))
    got = estimate(chain_params(number), KEY)[1]
    for name, values in exact.items():
        variance = np.tensordot(weight, values**2, 1) - true_gradient()[name] ** 2
        assert_variance(number * np.asarray(got[name], float), variance)


@pytest.mark.slow
@pytest.mark.parametrize("make", [fsb.double_cv, partial(fsb.rodeo, hidden=8)])
def test_learned_controls_lower_the_variance(make):
    """The loss is not linear: the first control is not the best one."""
    estimator, params, optimizer = make(2), chain_params(256), optax.adam(0.02)
    estimate = fsb.stateful_value_and_grad(estimator, chain)
    control, state = fsb.init(estimator, chain, params, KEY)

    def step(carry, key):
        control, moments = carry
        out = estimate(params, control, state, key)
        updates, moments = optimizer.update(out.control, moments)
        return (optax.apply_updates(control, updates), moments), None

    fit = jax.jit(lambda c, keys: jax.lax.scan(step, (c, optimizer.init(c)), keys)[0][0])
    fitted = fit(control, jax.random.split(KEY, 150))
    large = chain_params(2**14)
    variances = [
        float(jax.jit(estimate)(large, c, state, jax.random.key(8)).params["offset"].var(0).sum())
        for c in (control, fitted)
    ]
    assert variances[1] < 0.9 * variances[0]


def test_a_control_held_fixed_is_none():
    estimator = fsb.double_cv(learn=False)
    assert fsb.init(estimator, chain, chain_params(2), KEY) == ((), ())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fsb.arms(1), "arms: samples=1: it must be at least 2"),
        (lambda: fsb.double_cv(1), "double_cv: samples=1: it must be at least 2"),
        (lambda: fsb.rodeo(1), "rodeo: samples=1: it must be at least 2"),
        (lambda: fsb.rodeo(2, 0), "rodeo: hidden=0: it must be at least 1"),
        (lambda: fsb.rodeo(every=0), "rodeo: every=0: it must be at least 1"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(fsb.FsbError, match=message):
        make()
