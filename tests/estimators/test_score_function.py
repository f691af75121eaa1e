"""REINFORCE, NVIL, RLOO, MuProp and VIMCO on nets whose joint draws can all be listed."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fsb
from fsb.diagnostics import evaluations
from fsb.estimators._baselines import (
    RunningMoments,
    features,
    init_moments,
    running_scale,
    update_moments,
)
from fsb.estimators.vimco import negative_bound, signals
from fsb.networks import BernoulliLikelihood, vae
from fsb.objectives import importance_weighted_bound, log_weight, sampled_elbo
from fsb.sites import Site, ancestral, bind, collect_sites, site_key

KEY = jax.random.key(0)
LOGITS = np.float32([[0.4, -0.8]])


def f(z):
    """Neither even nor linear; [..., 2] -> [...]."""
    return np.sin(2 * z[..., 0]) + z[..., 0] * z[..., 1] + 2 * (z[..., 1] - 0.3) ** 2


def f_slope(z):
    return np.stack([2 * np.cos(2 * z[..., 0]) + z[..., 1], z[..., 0] + 4 * (z[..., 1] - 0.3)], -1)


def one_layer(params, sample):
    z = sample("z", fsb.Bernoulli(), params["eta"])
    return jnp.sin(2 * z[:, 0]) + z[:, 0] * z[:, 1] + 2 * (z[:, 1] - 0.3) ** 2


ONE = {"eta": jnp.asarray(LOGITS)}


def two_layers(params, sample):
    """One unit above one unit; the loss depends on the params as well. Linear in y."""
    z = sample("z", fsb.Bernoulli(-0.5, 1.0), params["a"])
    y = sample("y", fsb.Bernoulli(), params["w"] * z + 0.3)
    return jnp.sin(3 * z[:, 0]) + y[:, 0] * (1.5 - z[:, 0] ** 2) * params["c"]


TWO = {"a": jnp.float32([[0.7]]), "w": jnp.float32(1.4), "c": jnp.float32(0.8)}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


PARAMS = {one_layer: ONE, two_layers: TWO}
REINFORCE, RLOO, MUPROP, ROLLOUT = fsb.reinforce(), fsb.rloo(), fsb.muprop(), fsb.muprop(True)


def listed(estimator, loss, runs=1, fitted=None, apart=None):
    """Every joint draw of ``runs`` plain runs: values [S, runs, 2], value and gradients of each.

    The runs have the keys of a split; within a block ``apart``, those of the block.
    """
    params = PARAMS[loss]
    control, state = fitted or fsb.init(estimator, loss, params, KEY)

    def sites_of(key):
        return bind(loss, params)(ancestral(key))[1]

    @jax.jit
    @jax.vmap
    def draws(key):
        out = fsb.stateful_value_and_grad(estimator, loss)(params, control, state, key)
        each = jax.random.split(key if apart is None else site_key(key, apart), runs)
        each = each if runs > 1 else key[None]
        plain = jax.vmap(lambda k: jnp.concatenate([s.z for s in sites_of(k)], -1)[0])
        return plain(each), out.value, out.params

    values, *rest = jax.tree.map(np.float64, draws(jax.random.split(KEY, 2000)))
    values, first, which = np.unique(values, axis=0, return_index=True, return_inverse=True)
    assert len(values) == 4**runs
    for leaf in jax.tree.leaves(rest):  # the same draw, the same estimate
        np.testing.assert_allclose(leaf, leaf[first][which.ravel()], rtol=1e-4, atol=1e-5)
    return values, *jax.tree.map(lambda x: x[first], rest)


@functools.cache
def fresh(estimator, loss, runs=1):
    return listed(estimator, loss, runs)


def probability(loss, values):
    """Of joint draws [S, runs, 2]."""
    if loss is one_layer:
        p = np.where(values > 0, P, 1 - P)
    else:
        z, y = values[..., 0], values[..., 1]
        a, up = sigmoid(0.7), sigmoid(1.4 * z + 0.3)
        p = np.stack([np.where(z > 0, a, 1 - a), np.where(y > 0, up, 1 - up)], -1)
    return p.prod((-1, -2))


def moments(drawn):
    """Mean and variance of the estimate on the one-layer net, over all its draws."""
    values, _, grads = drawn
    weight, g = probability(one_layer, values), grads["eta"][:, 0]
    assert weight.sum() == pytest.approx(1)
    mean = weight @ g
    return mean, weight @ (g - mean) ** 2


STATES = np.array(list(itertools.product((0.0, 1.0), repeat=2)))
P = sigmoid(LOGITS[0])
WEIGHT = np.where(STATES > 0, P, 1 - P).prod(-1)
SCORE = STATES - P


def expectation(x):
    """Of an array by state, over all states."""
    return WEIGHT @ x


TRUE = expectation(f(STATES)[:, None] * SCORE)


@pytest.mark.slow
def test_variance_of_reinforce():
    mean, variance = moments(fresh(REINFORCE, one_layer))
    np.testing.assert_allclose(mean, TRUE, rtol=1e-5)
    second = expectation(f(STATES)[:, None] ** 2 * SCORE**2)
    np.testing.assert_allclose(variance, second - TRUE**2, rtol=1e-4)


@pytest.mark.slow
def test_variance_of_two_sample_rloo():
    """E (f1 - f2)^2 (s1 - s2)^2 / 4 - (E f s)^2, multiplied out."""
    values, losses, _ = fresh(RLOO, one_layer, 2)
    np.testing.assert_allclose(losses, f(values).mean(-1), rtol=1e-5, atol=1e-6)
    mean, variance = moments(fresh(RLOO, one_layer, 2))
    np.testing.assert_allclose(mean, TRUE, rtol=1e-5)
    F = f(STATES)[:, None]
    second = (
        expectation(F**2 * SCORE**2) / 2
        + expectation(F**2) * expectation(SCORE**2) / 2
        - expectation(F) * expectation(F * SCORE**2)
        + expectation(F * SCORE) ** 2
    )
    np.testing.assert_allclose(variance, second - TRUE**2, rtol=1e-4)


def remainder():
    """f less its expansion at the mean, by state."""
    return f(STATES) - f(P) - (STATES - P) @ f_slope(P)


@pytest.mark.slow
def test_variance_of_muprop():
    """That of the remainder times the score: the rest is constant."""
    mean, variance = moments(fresh(MUPROP, one_layer))
    np.testing.assert_allclose(mean, TRUE, rtol=1e-5)
    R = remainder()[:, None]
    expected = expectation(R**2 * SCORE**2) - expectation(R * SCORE) ** 2
    np.testing.assert_allclose(variance, expected, rtol=1e-4)
    assert (variance < 0.5 * moments(fresh(REINFORCE, one_layer))[1]).all()


@pytest.mark.slow
def test_the_trunk_is_expanded_by_the_total_derivative():
    """Of the first layer, through the mean of the second."""
    values, _, grads = fresh(MUPROP, two_layers)
    z, y = values[:, 0].T
    p = sigmoid(0.7)
    at = 1.5 * p - 0.5
    q = sigmoid(1.4 * at + 0.3)
    slope = 3 * np.cos(3 * at) + 0.8 * (1.4 * q * (1 - q) * (1.5 - at**2) - 2 * at * q)
    here, mean = (np.sin(3 * a) + 0.8 * b * (1.5 - a**2) for a, b in ((z, y), (at, q)))
    score = (z > 0) - p
    expected = (here - mean - slope * (z - at)) * score + slope * 1.5 * p * (1 - p)
    np.testing.assert_allclose(grads["a"][:, 0, 0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_rollout_expands_around_what_was_sampled():
    """The loss is linear in y given z, so that no noise of y's own is left in y's gradient."""
    values, _, grads = fresh(ROLLOUT, two_layers)
    z = values[:, 0, 0]
    p = sigmoid(1.4 * z + 0.3)
    np.testing.assert_allclose(grads["w"], z * p * (1 - p) * 0.8 * (1.5 - z**2), rtol=1e-4)
    _, _, trunk = fresh(MUPROP, two_layers)
    assert abs(trunk["w"][0] - trunk["w"][1]) > 0.01  # the same z, another y


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "runs"),
    [(MUPROP, 1), (ROLLOUT, 1), pytest.param(fsb.rloo(3), 3, marks=pytest.mark.slow)],
)
def test_means_of_two_layers(estimator, runs):
    """Every parameter, without sampling error."""
    values, _, grads = fresh(estimator, two_layers, runs)
    weight = probability(two_layers, values)
    exact = jax.grad(expected_loss)(TWO)
    for name in TWO:
        np.testing.assert_allclose(np.tensordot(weight, grads[name], 1), exact[name], rtol=1e-4)


def expected_loss(params, runs=1):
    """E[-log mean exp(-loss)] over all joint draws of the two-layer net."""
    states = np.array(list(itertools.product((-0.5, 1.0), (0.0, 1.0))), np.float32)
    z, y = states.T
    up = jax.nn.sigmoid(params["w"] * z + 0.3)
    a = jax.nn.sigmoid(params["a"][0, 0])
    p = jnp.where(z > 0, a, 1 - a) * jnp.where(y > 0, up, 1 - up)
    w = jnp.exp(-(jnp.sin(3 * z) + y * (1.5 - z**2) * params["c"]))
    index = np.array(list(itertools.product(range(4), repeat=runs)))
    return -(p[index].prod(-1) * jnp.log(w[index].mean(-1))).sum()


# --- centring, normalisation, input-dependent baseline

C_IDB = {"centering": True, "baseline": True, "hidden": 3}
PARTS = {"centering": True, "normalization": True, "baseline": True, "hidden": 3}


def fitted(estimator):
    """A control and a state that are nowhere 0; with them c, B and the scale by hand."""
    control, state = fsb.init(estimator, one_layer, ONE, KEY)
    control = jax.tree.map(lambda x: x + 0.3, control)
    state = jax.tree.map(lambda x: x + 4 if x.dtype == jnp.float32 else x, state)
    _, net, _ = control["z"]
    net = jax.tree.map(np.asarray, net)
    B = np.tanh(LOGITS[0] @ net["in"] + net["bias"]) @ net["out"] + net["offset"]
    return (control, state), 4 + B, 2.0  # the variance is 4 too


@pytest.mark.slow
def test_reductions_of_reinforce_by_hand():
    estimator = fsb.reinforce(**PARTS)
    at, offset, scale = fitted(estimator)
    values, _, grads = listed(estimator, one_layer, fitted=at)
    z = values[:, 0]
    signal = (f(z) - offset) / scale
    np.testing.assert_allclose(grads["eta"][:, 0], signal[:, None] * (z - P), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_normalisation_scales_the_sampled_part_and_nothing_else_shifts_the_mean():
    estimator = fsb.muprop(**PARTS)
    at, _, scale = fitted(estimator)
    constant = f_slope(P) * P * (1 - P)
    mean, _ = moments(listed(estimator, one_layer, fitted=at))
    np.testing.assert_allclose(mean, constant + (TRUE - constant) / scale, rtol=1e-4)


@pytest.mark.slow
def test_the_scale_is_never_below_one():
    for variance, scale in ((0.25, 1.0), (9.0, 3.0)):
        state = RunningMoments(jnp.int32(1), jnp.float32(0), jnp.float32(variance))
        signal, _, after = running_scale(0.8).apply(jnp.float32([6.0, 3.0]), None, (), state)
        np.testing.assert_allclose(signal, np.array([6, 3]) / scale)
        assert int(after.steps) == 2


SITE = Site("z", fsb.Bernoulli(), *[jnp.zeros((5, 1))] * 3)


def test_moments_of_the_first_steps_are_plain_and_then_fade():
    batches = np.random.default_rng(0).normal(1000, 3, (12, 5)).astype(np.float32)
    state = init_moments(KEY, SITE)[1]
    for batch in batches:
        state = update_moments(state, jnp.asarray(batch), 0.95)
    assert int(state.steps) == 12
    assert float(state.mean) == pytest.approx(batches.mean(), rel=1e-6)
    assert float(state.variance) == pytest.approx(batches.var(), rel=1e-3)
    weight = np.append(0.8 ** np.arange(11, 4, -1) * 0.2, 0.2 * 0.8 ** np.arange(4, -1, -1))
    weight[:5] = 0.8**7 / 5  # the first 1 / (1 - decay) steps, alike
    state = init_moments(KEY, SITE)[1]
    for batch in batches:
        state = update_moments(state, jnp.asarray(batch), 0.8)
    mean = weight @ batches.mean(1)
    assert weight.sum() == pytest.approx(1)
    assert float(state.mean) == pytest.approx(mean, rel=1e-6)
    expected = weight @ ((batches - mean) ** 2).mean(1)
    assert float(state.variance) == pytest.approx(expected, rel=1e-3)


BATCH = 64
MANY = {"eta": jnp.tile(ONE["eta"], (BATCH, 1))}


def shifted(params, sample):
    return 1000 + one_layer(params, sample)


def trained(estimator, loss, params, steps, learning_rate=0.02):
    """Control, state and objectives after a loop in which the model stands still."""
    control, state = fsb.init(estimator, loss, params, KEY)
    optimizer = optax.adam(learning_rate)

    def step(carry, key):
        control, state, opt_state = carry
        out = fsb.stateful_value_and_grad(estimator, loss)(params, control, state, key)
        _, aux = estimator.surrogate(bind(loss, params), control, state, key)
        updates, opt_state = optimizer.update(out.control, opt_state)
        return (optax.apply_updates(control, updates), out.state, opt_state), aux.objective

    start = (control, state, optimizer.init(control))
    (control, state, _), objectives = jax.jit(
        lambda: jax.lax.scan(step, start, jax.random.split(KEY, steps))
    )()
    return control, state, np.asarray(objectives)


@pytest.mark.slow
def test_centring_undoes_a_shift_of_the_loss():
    estimator = fsb.reinforce(centering=True, decay=0.95)
    control, state, _ = trained(estimator, shifted, MANY, 200)
    ((_, mean, _),) = state["z"]
    average = 1000 + expectation(f(STATES))
    standard_error = np.sqrt(expectation((f(STATES) - average + 1000) ** 2) / BATCH / 39)
    assert float(mean) == pytest.approx(average, abs=5 * standard_error)

    def variance(estimator, loss, at):
        draws = fsb.sample_gradients(estimator, loss, MANY, KEY, 1000, 500, at)["eta"]
        return BATCH**2 * np.asarray(draws, float).var(0).mean(0)

    plain = expectation((f(STATES) - f(STATES) @ WEIGHT)[:, None] ** 2 * SCORE**2) - TRUE**2
    np.testing.assert_allclose(variance(estimator, shifted, (control, state)), plain, rtol=0.05)
    assert (variance(fsb.reinforce(), shifted, ({"z": ()}, {"z": ()})) > 1e4 * plain).all()


def varied(params, sample):
    """Examples whose mean losses differ, which a baseline can tell from their logits."""
    z = sample("z", fsb.Bernoulli(), params["eta"])
    return 5 * z.sum(-1) + 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "within"),
    [(fsb.reinforce(baseline=True), 1.15), pytest.param(fsb.nvil(), 1.3, marks=pytest.mark.slow)],
)
def test_the_baseline_learns(estimator, within):
    """To the variance of the losses given eta, from the mean of their squares."""
    eta = np.random.default_rng(1).normal(0, 2, (BATCH, 3)).astype(np.float32)
    p = sigmoid(eta)
    left = (25 * p * (1 - p)).sum(-1).mean()
    start = left + ((5 * p.sum(-1) + 3) ** 2).mean()
    _, _, objectives = trained(estimator, varied, {"eta": jnp.asarray(eta)}, 400)
    assert objectives[0] == pytest.approx(start, rel=0.2)
    assert objectives[-50:].mean() < within * left


@pytest.mark.slow
def test_the_baseline_at_infinite_logits():
    def loss(eta, sample):
        return sample("z", fsb.Bernoulli(), eta).sum(-1)

    eta = jnp.float32([[jnp.inf, -jnp.inf], [1000.0, 0.2]])
    estimator = fsb.nvil(hidden=7)
    control, state = fsb.init(estimator, loss, eta, KEY)
    assert control["z"][1]["in"].shape == (2, 7)
    control = jax.tree.map(lambda x: x + 0.1, control)
    out = jax.jit(fsb.stateful_value_and_grad(estimator, loss))(eta, control, state, KEY)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(out))


def test_the_baseline_sees_all_parameters():
    eta = (jnp.float32([[1.0, 2.0], [3.0, 4.0]]), jnp.float32([[5.0, 99.0], [7.0, 8.0]]))
    np.testing.assert_array_equal(features(eta), [[1, 2, 5, 30], [3, 4, 7, 8]])


TARGET = np.float32([2.0, -1.0])
SEES = {"baseline": True, "hidden": 3, "context": True}


def towards(params, sample):
    """Two examples with the same logits; their target tells them apart."""
    sample.context(TARGET)
    z = sample("z", fsb.Bernoulli(), jnp.tile(params["eta"], (2, 1)))
    return TARGET * (1 + z @ jnp.arange(1.0, 3.0)) ** 2


@pytest.mark.slow
@pytest.mark.parametrize("make", [fsb.reinforce, fsb.muprop])
def test_a_context_adds_a_constant_for_each_example_and_leaves_the_mean(make):
    """By hand, draw for draw; over all draws a constant times the score has the mean 0."""

    @functools.partial(jax.vmap, in_axes=(None, None, 0))
    def draws(estimator, control, key):
        _, state = fsb.init(estimator, towards, ONE, KEY)
        out = fsb.stateful_value_and_grad(estimator, towards)(ONE, control, state, key)
        return out.params["eta"][0], bind(towards, ONE)(ancestral(key))[1][0].z

    keys = jax.random.split(KEY, 200)
    control = jax.tree.map(lambda x: x + 0.3, fsb.init(make(**SEES), towards, ONE, KEY)[0])
    with_it, z = draws(make(**SEES), control, keys)
    without, _ = draws(make(), {"z": ()}, keys)
    (net,) = jax.tree.map(np.asarray, control["z"])
    seen = np.concatenate([np.tile(LOGITS, (2, 1)), TARGET[:, None]], 1)
    constant = np.tanh(seen @ net["in"] + net["bias"]) @ net["out"] + net["offset"]
    expected = (constant[:, None] * (np.asarray(z) - P)).mean(1)  # of the mean of both losses
    np.testing.assert_allclose(without - with_it, expected, rtol=1e-3, atol=1e-5)
    assert abs(constant[0] - constant[1]) > 0.1
    np.testing.assert_allclose(expectation(SCORE), 0, atol=1e-6)


@pytest.mark.slow
def test_a_baseline_with_context_learns_what_the_logits_do_not_tell():
    def loss(eta, sample):
        target = jnp.arange(8.0) % 2
        sample.context(target)
        return 10 * target + sample("z", fsb.Bernoulli(), eta)[:, 0]

    eta = {"eta": jnp.zeros((8, 1))}
    wrapped = lambda params, sample: loss(params["eta"], sample)
    left = [
        trained(fsb.reinforce(baseline=True, context=context), wrapped, eta, 400)[2][-50:].mean()
        for context in (False, True)
    ]
    assert left[0] > 24  # 25 within the pairs of targets, 0.25 of the draws
    assert left[1] < 0.5


def one_site(eta, sample):
    return sample("z", fsb.Bernoulli(), eta).sum(-1)


def late(eta, sample):
    losses = one_site(eta, sample)
    sample.context(eta)
    return losses


def within_a_block(eta, sample):
    def one(eta, sample):
        sample.context(eta)
        return one_site(eta, sample)

    return fsb.vmap(one, sample)(eta)


def handing(value):
    return lambda eta, sample: (sample.context(value), one_site(eta, sample))[1]


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (one_site, "the loss hands nothing to the baseline"),
        (late, "before the first site is sampled"),
        (handing(np.ones((1, 3))), "1 rows for 2 losses"),
        (handing(1.0), "one row for each example"),
        (within_a_block, "not within fsb.scan, fsb.vmap"),
    ],
)
def test_a_context_out_of_place(loss, message):
    with pytest.raises(fsb.FsbError, match=message):
        fsb.init(fsb.nvil(context=True), loss, jnp.zeros((2, 1)), KEY)


# --- bounds of several samples


@pytest.mark.parametrize("runs", [pytest.param(2, marks=pytest.mark.slow), 3])
@pytest.mark.slow
def test_vimco_is_unbiased_for_the_bound(runs):
    values, losses, grads = listed(fsb.vimco(runs), two_layers, runs)
    weight = probability(two_layers, values)
    value, exact = jax.value_and_grad(expected_loss)(TWO, runs)
    assert weight @ losses == pytest.approx(float(value), rel=1e-4)
    for name in TWO:
        np.testing.assert_allclose(np.tensordot(weight, grads[name], 1), exact[name], rtol=1e-4)


@pytest.mark.slow
def test_the_signal_leaves_one_run_out():
    losses = np.random.default_rng(0).normal(0, 3, (4, 2)).astype(np.float32)
    w = np.exp(-losses.astype(float))
    found = jax.jit(signals)(jnp.asarray(losses))
    for i in range(4):
        others = np.delete(w, i, 0)
        without = np.log((others.sum(0) + np.exp(np.log(others).mean(0))) / 4)
        np.testing.assert_allclose(found[i], without - np.log(w.mean(0)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(negative_bound(losses), -np.log(w.mean(0)), rtol=1e-5)
    assert np.isfinite(jax.jit(signals)(1000 * losses)).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator", [fsb.vimco(5), fsb.iw_disarm(5), fsb.multi_sample(fsb.st(), 5)]
)
def test_the_value_is_the_importance_weighted_bound(estimator):
    model = vae((2, 2), BernoulliLikelihood(), layers=2, width=3, hidden=1)
    x = jnp.float32([[[0, 1], [1, 1]], [[1, 0], [0, 1]]])
    variables = jax.jit(lambda k: model.init(k, x, lambda name, dist, eta: dist.mean(eta)))(KEY)

    def loss(params, sample):
        return sampled_elbo()(model.apply({**variables, "params": params}, x, sample))

    def log_weights(key):
        draw = lambda sample: model.apply(variables, x, sample)
        return log_weight(collect_sites(draw, ancestral(key))[0])

    value, grads = jax.jit(fsb.value_and_grad(estimator, loss))(variables["params"], KEY)
    expected = -jax.jit(lambda k: importance_weighted_bound(log_weights, k, 5))(KEY).mean()
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    assert all(np.isfinite(g).all() and g.any() for g in jax.tree.leaves(grads))


@pytest.mark.slow
def test_vimco_as_every_estimator():
    """Under jit and vmap, in three precisions, at certain units and for every family."""

    def loss(params, sample):
        z = sample("z", fsb.Bernoulli(-1.0, 1.0), params["b"])
        k = sample("k", fsb.Categorical(), params["k"])
        x = sample("x", fsb.Normal(), (params["b"] + z, jnp.exp(params["s"])))
        return (x**2 * z).sum(-1) + jnp.sin(k[..., 0] + 2 * k[..., 1]).sum(-1)

    certain = jnp.float32([[1000, -1000], [jnp.inf, -jnp.inf], [0.3, -0.2]])
    params = {"b": jnp.clip(certain, -1, 1), "k": jnp.ones((3, 2, 3)), "s": jnp.zeros((3, 2))}
    estimate = fsb.value_and_grad(fsb.vimco(3), loss)
    keys = jax.random.split(KEY, 2)
    many = jax.jit(jax.vmap(estimate, (None, 0)))(params, keys)
    one = jax.jit(estimate)(params, keys[1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-4, atol=1e-5), many, one)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(one[1]))
    for dtype in ("bfloat16", "float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            cast = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)  # noqa: B023
            shapes = jax.eval_shape(estimate, cast, KEY)
            assert {str(x.dtype) for x in jax.tree.leaves(shapes)} == {dtype}

    def boolean(params, sample):
        z = sample("z", fsb.Bernoulli(), params["b"])
        return z.sum(-1) + jnp.sin(3 * sample("k", fsb.Categorical(), params["k"])).sum((-1, -2))

    edges = {"b": certain, "k": jnp.float32([[[1000, 0, -1000]]] * 2 + [[[0.1, 0.2, 0.3]]])}
    value, grads = jax.jit(fsb.value_and_grad(fsb.vimco(3), boolean))(edges, KEY)
    assert np.isfinite(value)
    for g in grads.values():
        np.testing.assert_array_equal(g[:2], 0)
        assert np.isfinite(g).all()


@pytest.mark.slow
def test_multi_sample_weighs_the_runs():
    """By w_i / sum_j w_j each run's own gradient, of all sites and of what is direct."""
    values, losses, grads = listed(fsb.multi_sample(fsb.darn(), 2), two_layers, 2)
    alone = listed(fsb.darn(), two_layers)
    where = {tuple(v[0]): i for i, v in enumerate(alone[0])}
    for i, pair in enumerate(values):
        each = [where[tuple(v)] for v in pair]
        w = np.exp(-alone[1][each])
        assert losses[i] == pytest.approx(-np.log(w.mean()), rel=1e-4)
        for name in TWO:
            expected = np.tensordot(w / w.sum(), alone[2][name][each], 1)
            np.testing.assert_allclose(grads[name][i], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [fsb.reinforce(**C_IDB), fsb.muprop(**C_IDB)])
def test_multi_sample_of_what_is_unbiased_is_so_for_the_bound(estimator):
    """Of every joint draw of two runs, with a baseline that is nowhere 0."""
    estimator = fsb.multi_sample(estimator, 2)
    control, state = fsb.init(estimator, two_layers, TWO, KEY)
    assert control["runs/z"][1]["in"].shape == (2, 3)  # the logits of both runs
    at = jax.tree.map(lambda x: x + 0.3, control), state
    values, losses, grads = listed(estimator, two_layers, 2, at, apart="runs")
    weight = probability(two_layers, values)
    value, exact = jax.value_and_grad(expected_loss)(TWO, 2)
    assert weight @ losses == pytest.approx(float(value), rel=1e-4)
    for name in TWO:
        np.testing.assert_allclose(np.tensordot(weight, grads[name], 1), exact[name], rtol=1e-4)


# --- every family, cost, refusals


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator",
    [REINFORCE, MUPROP, *(pytest.param(e, marks=pytest.mark.slow) for e in (RLOO, ROLLOUT))],
)
def test_gaussian_layers(estimator):
    """x ~ N(m, s), y ~ N(w x, t): E (y - 1)^2 in closed form; the draws are not differentiated."""

    def loss(params, sample):
        x = sample("x", fsb.Normal(), (params["m"], params["s"]))
        y = sample("y", fsb.Normal(), (params["w"] * x, params["t"]))
        return ((y - 1) ** 2)[:, 0]

    def closed(params):
        m, s, w, t = (params[name].reshape(()) for name in "mswt")
        return (w * m - 1) ** 2 + (w * s) ** 2 + t**2

    starts = {"m": 0.5, "s": 0.7, "w": 0.9, "t": 0.6}
    params = {name: jnp.full((1, 1), x) for name, x in starts.items()}
    draws = fsb.sample_gradients(estimator, loss, params, KEY, 2**17)
    for name, true in jax.grad(closed)(params).items():
        d = np.asarray(draws[name], float)
        error = d.std() / np.sqrt(len(d))
        assert abs(d.mean() - true.item()) < 4.5 * error, name
        assert error < 0.02 * abs(np.asarray(true)).max() + 0.01


@pytest.mark.slow
def test_evaluations():
    expected = {REINFORCE: 1, fsb.rloo(4): 4, MUPROP: 2, ROLLOUT: 3}
    for estimator, count in expected.items():
        assert evaluations(estimator, two_layers, TWO, KEY) == count


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fsb.rloo(1), "rloo: samples=1: it must be at least 2"),
        (lambda: fsb.vimco(1), "vimco: samples=1: it must be at least 2"),
        (lambda: fsb.reinforce(hidden=0), "reinforce: hidden=0: it must be at least 1"),
        (lambda: fsb.muprop(decay=1.0), "muprop: decay=1.0: it must be at least 0 and below 1"),
        (lambda: fsb.nvil(decay=-0.1), "nvil: decay=-0.1: it must be at least 0 and below 1"),
        (lambda: fsb.multi_sample(fsb.st(), 0), "multi_sample: samples=0: it must be at least 1"),
        (lambda: fsb.reinforce(context=True), "reinforce: context=True: it needs baseline=True"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(fsb.FsbError, match=message):
        make()
