"""``debias``: every draw by hand, what it learns, and unbiased whatever it has learned."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import oracle as o
import pytest

import fsb
from fsb.diagnostics import evaluations
from fsb.estimators.debias import Sums

KEY = jax.random.key(5)
LOW, HIGH = ENCODING = (-0.5, 1.5)
SPIN = fsb.Bernoulli(LOW, HIGH)
A = np.array([0.7, -1.1, 0.4, 1.3])
FAMILIES = {
    "bernoulli": (SPIN, jnp.float32([[0.3, -1.0, 2.0], [0.0, 1.0, -0.5]])),
    "categorical": (
        fsb.Categorical(),
        jnp.float32(np.random.default_rng(0).normal(size=(2, 3, 4))),
    ),
}
RULES = {"st": (fsb.st, o.mean_slope), "darn": (fsb.darn, o.reweighed_slope)}


def waves(params, sample):
    """The gradient of the probe is the value of the site."""
    z = sample("z", SPIN, params["eta"])
    probe = (params["probe"] * jax.lax.stop_gradient(z)).sum(-1)
    return jnp.sin(z @ jnp.float32(A)) + probe


def drawn(estimator, eta, key, fitted=None):
    """The estimates and the values of every example."""
    params = {"eta": eta, "probe": jnp.zeros_like(eta)}
    control, state = fitted or fsb.init(estimator, waves, params, key)
    estimate = fsb.stateful_value_and_grad(estimator, waves)
    grads = jax.jit(estimate)(params, control, state, key).params
    return (len(eta) * np.asarray(grads[name], float) for name in ("eta", "probe"))


@pytest.mark.parametrize("name", RULES)
def test_one_unit_is_corrected_by_what_the_rule_leaves_out(name):
    make, slope = RULES[name]
    eta = np.tile(np.array([0.3, -2.0, 1.0, 0.1]), (512, 1))
    found, z = drawn(fsb.debias(make(), learn=False), jnp.float32(eta), KEY)
    p = 1 / (1 + np.exp(-eta))
    v = p * (1 - p)
    q = np.sqrt(v) / np.sqrt(v).sum(1, keepdims=True)

    def at(unit, value):
        """The loss, and the estimate of the rule for this unit, with it at a value."""
        there = z.copy()
        there[:, unit] = value
        g = np.cos(there @ A)[:, None] * A
        rule = slope(eta, there, ENCODING) * g
        return np.sin(there @ A), rule[:, unit]

    rule = slope(eta, z, ENCODING) * np.cos(z @ A)[:, None] * A
    corrected = abs(found - rule) > 1e-5
    assert (corrected.sum(1) <= 1).all()
    for unit in range(4):
        (high, rule_high), (low, rule_low) = at(unit, HIGH), at(unit, LOW)
        mean = p[:, unit] * rule_high + (1 - p[:, unit]) * rule_low
        expected = rule[:, unit] + (v[:, unit] * (high - low) - mean) / q[:, unit]
        here = corrected[:, unit]
        np.testing.assert_allclose(found[here, unit], expected[here], rtol=1e-4, atol=1e-5)
        assert abs(here.mean() - q[0, unit]) < 4 * np.sqrt(q[0, unit] / 512)


def test_what_lies_below_changes_by_its_mean_alone():
    """A loss linear in the unit below: its jump is known but for where the flip has put it."""
    a, b, w, c = 3.0, -0.7, 2.0, -0.4
    length = HIGH - LOW

    def loss(params, sample):
        y = sample("y", SPIN, params["eta"])
        z = sample("z", SPIN, w * y + c)
        probe = sum(
            (params[k] * jax.lax.stop_gradient(v)).sum(-1)
            for k, v in zip("yz", (y, z), strict=True)
        )
        return (b * y + a * z).sum(-1) + probe

    eta = np.full((4096, 1), 0.3)
    params = {k: jnp.float32(x) for k, x in (("eta", eta), ("y", 0 * eta), ("z", 0 * eta))}
    grads = jax.jit(fsb.value_and_grad(fsb.debias(fsb.darn(), learn=False), loss))(params, KEY)[1]
    found, y, z = (4096 * np.asarray(grads[k], float)[:, 0] for k in ("eta", "y", "z"))
    eta, sigmoid = eta[:, 0], lambda x: 1 / (1 + np.exp(-x))
    other_y = LOW + HIGH - y
    below, other_below = sigmoid(w * y + c), sigmoid(w * other_y + c)

    def rule(y, z):
        """DARN in the unit above, with DARN below."""
        g = b + a * w * o.reweighed_slope(w * y + c, z, ENCODING)
        return o.reweighed_slope(eta, y, ENCODING) * g

    def drift(z, p, other_p):
        """E[z' - z | z] of z = [u < p] and z' = [u < p']."""
        up, down = np.maximum(other_p - p, 0) / (1 - p), np.maximum(p - other_p, 0) / p
        return length * np.where(z == HIGH, -down, up)

    p = sigmoid(0.3)
    v, v_below = p * (1 - p), below * (1 - below)
    q = np.sqrt(v) / (np.sqrt(v) + np.sqrt(v_below))
    distance = []
    for other_z in ENCODING:
        explained = drift(z, below, other_below) - drift(other_z, other_below, below)
        change = b * (other_y - y) + a * explained / 2
        here, there = rule(y, z), rule(other_y, other_z)
        high, low = np.where(y == HIGH, here, there), np.where(y == HIGH, there, here)
        r = v * np.sign(other_y - y) * change - p * high - (1 - p) * low
        distance.append(abs(found - here - r / q))
    corrected = abs(found - rule(y, z)) > 1e-5
    assert abs(corrected.mean() - q.mean()) < 0.05
    assert np.min(distance, 0)[corrected].max() < 1e-4


def products(dist):
    """Quadratic in each unit."""

    def loss(eta, sample):
        z = sample("z", dist, eta).reshape(len(eta), 3, -1)
        return (z * jnp.roll(z, 1, 1) + (z - 0.3) ** 2 + z * jnp.roll(z, 1, 2)).sum((1, 2))

    return loss


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_nothing_to_correct_where_the_rule_is_exact(family):
    dist, eta = FAMILIES[family]
    ours, rule = (
        jax.jit(fsb.value_and_grad(e, products(dist)))(eta, KEY)[1]
        for e in (fsb.debias(fsb.zgr(), 2, learn=False), fsb.zgr())
    )
    np.testing.assert_allclose(ours, rule, atol=2e-6)


def test_straight_through_with_the_curvature_has_no_variance():
    """It learns the curvature from its flips; then every draw is the exact gradient."""
    scale, (dist, eta) = jnp.float32([0.5, 1.0, -2.0]), FAMILIES["bernoulli"]
    loss = lambda eta, sample: (sample("z", dist, eta) - 0.2) ** 2 @ scale
    estimator = fsb.debias(fsb.st(), 4)
    control, start = fsb.init(estimator, loss, eta, KEY)
    estimate = fsb.stateful_value_and_grad(estimator, loss)

    def step(state, key):
        out = estimate(eta, control, state, key)
        return out.state, out.params

    keys = jax.random.split(KEY, 400)
    state, draws = jax.jit(lambda: jax.lax.scan(step, start, keys))()
    total, weight = state["z"].curvature
    np.testing.assert_allclose(total / weight, 2 * scale, rtol=0.02)
    true, draws = np.asarray(fsb.exact_gradient(loss, eta))[None], np.asarray(draws)
    assert np.abs(draws[:20] - true).max() > 0.1
    np.testing.assert_allclose(draws[-20:], np.broadcast_to(true, draws[-20:].shape), atol=0.02)


def test_units_with_large_brackets_are_flipped_more_often():
    """And the value is the loss, not the straightened one."""
    params = {"eta": jnp.zeros((512, 4)), "probe": jnp.zeros((512, 4))}
    squares = jnp.float32([[9.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    state = {"z": Sums(jnp.ones((2, 4)), squares)}
    out = jax.jit(fsb.stateful_value_and_grad(fsb.debias(fsb.st()), waves))(params, (), state, KEY)
    np.testing.assert_allclose(out.value, fsb.value_and_grad(fsb.st(), waves)(params, KEY)[0], 1e-5)
    flips = (np.asarray(out.state["z"].square)[1] - 0.99) / 0.25
    assert int(flips.sum().round()) == 512
    size = np.sqrt((np.array([9.0, 1, 1, 0]) + 0.01 * 11 / 4) / 1.01)
    expected = 0.9 * size / size.sum() + 0.1 / 4
    np.testing.assert_allclose(flips / 512, expected, atol=4 * np.sqrt(0.25 / 512))


def deep(family):
    """Two layers, the second of other units."""

    def boolean(params, sample):
        y = sample("y", SPIN, params["eta"])
        z = sample("z", fsb.Bernoulli(), y @ params["w"])
        return jnp.sin(z * 2 + y).sum(-1) + z[:, 0] * y[:, 1] + (y * z).sum(-1) ** 2

    def categorical(params, sample):
        y = sample("y", fsb.Categorical(), params["eta"][:, None, :])[:, 0]
        z = sample("z", fsb.Categorical(), (y @ params["w"])[:, None, :])[:, 0]
        return jnp.sin(y[:, 0] + 2 * z[:, 1] - y[:, 1] * z[:, 0]) + (y * z).sum(-1) ** 2

    size = {"boolean": 2, "categorical": 3}[family]
    rng = np.random.default_rng(0)
    params = {"eta": rng.normal(size=(1, size)), "w": rng.normal(size=(size, size))}
    return locals()[family], jax.tree.map(jnp.float32, params)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "rule", "flips"), [("boolean", fsb.st, 2), ("categorical", fsb.zgr, 1)]
)
def test_unbiased_whatever_it_has_learned(family, rule, flips):
    loss, params = deep(family)
    estimator = fsb.debias(rule(), flips)
    control, state = fsb.init(estimator, loss, params, KEY)
    shaped = lambda x, i: jnp.abs(jax.random.normal(jax.random.fold_in(KEY, i), x.shape))
    state = {
        name: Sums(*(shaped(x, 2 * i + j) for j, x in enumerate(sums)))
        for i, (name, sums) in enumerate(state.items())
    }
    number = 2**17
    draws = fsb.sample_gradients(estimator, loss, params, KEY, number, fitted=(control, state))
    for name, true in fsb.exact_gradient(loss, params).items():
        error = draws[name].std(0) / np.sqrt(number)
        assert (abs(draws[name].mean(0) - true) < 4.5 * error + 1e-5).all()
        assert (4.5 * error < 0.1 * abs(true).max()).all()


@pytest.mark.slow
def test_one_evaluation_for_each_flip_at_any_depth():
    def loss(eta, sample):
        z = eta
        for i in range(3):
            z = sample(f"z{i}", SPIN, z)
        return z.sum(-1)

    eta = jnp.zeros((2, 3))
    assert evaluations(fsb.debias(fsb.st()), loss, eta, KEY) == 2
    assert evaluations(fsb.debias(fsb.darn(), 3, learn=False), loss, eta, KEY) == 4


@pytest.mark.parametrize(
    "make",
    [fsb.foust, fsb.gumbel_softmax, fsb.st_gumbel_softmax, fsb.deterministic_st, fsb.disarm,
     fsb.pathwise],
)  # fmt: skip
def test_rules_that_see_more_than_a_draw_are_refused(make):
    with pytest.raises(fsb.FsbError, match="must be a function of an ordinary draw: st, darn, mve"):
        fsb.debias(make())


def test_a_loss_without_sites_is_refused():
    with pytest.raises(fsb.FsbError, match="debias: the loss samples no site"):
        fsb.init(fsb.debias(fsb.st()), lambda x, sample: x, jnp.zeros(2), KEY)


def test_rules_it_takes():
    own = fsb.local(lambda noise, eta, dist: (eta, eta), pull=lambda g, z, eta, dist: g)
    rules = (fsb.mve(), fsb.zgr(), fsb.reinmax(), fsb.gst(), fsb.foust(delta=0.0), own)
    assert all(fsb.debias(rule).init for rule in rules)


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"flips": 0}, "flips=0: it must be at least 1"), ({"decay": 1.0}, r"lie in \[0, 1\)")],
)
def test_settings_out_of_range(settings, says):
    with pytest.raises(fsb.FsbError, match=says):
        fsb.debias(fsb.st(), **settings)
