"""Estimators made of estimators: average, switch, noise_operator, only and per_site."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import oracle as o
import pytest

import fsb
from fsb.sites import bind, given
from fsb.types import Aux, Estimator

CHAIN = o.Chain((2, 2, 1), (o.ONE, o.ZERO_ONE, o.HALF))
PARAMS = CHAIN.parameters()
ETA = jnp.float32([[0.6, -1.1, 0.2]])


def chain_loss(params, sample):
    return CHAIN.loss(params, sample)


def loss(eta, sample):
    z = sample("z", fsb.Bernoulli(-0.7, 1.0), eta)
    return jnp.sin(2 * z.sum(-1) + z[:, 0]) + z.prod(-1)


def counting():
    """ST that counts its calls, keeps a running number and has a control parameter."""
    plain = fsb.st()

    def surrogate(run, control, state, key):
        losses, _ = plain.surrogate(run, (), (), key)
        after = {"calls": state["calls"] + 1, "mean": 0.5 * state["mean"] + losses.mean()}
        return losses, Aux((control - 3.0) ** 2, after, {"control": control})

    start = {"calls": jnp.int32(0), "mean": jnp.float32(0)}
    return Estimator(lambda key, sites: (jnp.float32(1), start), surrogate)


@pytest.mark.slow
def test_average_is_the_mean_over_the_keys(key):
    keys = jax.random.split(key, 3)
    value, grads = jax.jit(fsb.value_and_grad(fsb.average(fsb.darn(), 3), loss))(ETA, key)
    one = jax.jit(fsb.value_and_grad(fsb.darn(), loss))
    alone = [one(ETA, k) for k in keys]
    np.testing.assert_allclose(value, np.mean([v for v, _ in alone]), rtol=1e-5)
    np.testing.assert_allclose(grads, np.mean([g for _, g in alone], 0), rtol=1e-5)


@pytest.mark.slow
def test_average_of_a_stateful_estimator(key):
    estimator = fsb.average(counting(), 4)
    control, state = fsb.init(estimator, loss, ETA, key)
    out = jax.jit(fsb.stateful_value_and_grad(estimator, loss))(ETA, control, state, key)
    assert int(out.state["calls"]) == 1
    np.testing.assert_allclose(out.state["mean"], out.value, rtol=1e-5)
    assert float(out.control) == -4
    assert float(out.metrics["control"]) == 1


@pytest.mark.slow
def test_switch_is_the_first_and_then_the_second(key):
    estimator, traces = fsb.switch(counting(), fsb.darn(), 2), []

    @jax.jit
    def step(control, state, key):
        traces.append(1)
        return fsb.stateful_value_and_grad(estimator, loss)(ETA, control, state, key)

    control, state = fsb.init(estimator, loss, ETA, key)
    st, darn = (jax.jit(fsb.value_and_grad(part(), loss)) for part in (fsb.st, fsb.darn))
    for i, part in enumerate((st, st, darn, darn)):
        out = step(control, state, jax.random.fold_in(key, i))
        expected = part(ETA, jax.random.fold_in(key, i))
        np.testing.assert_allclose(out.value, expected[0], rtol=1e-6)
        np.testing.assert_allclose(out.params, expected[1], rtol=1e-6)
        first = i < 2
        assert float(out.control[0]) == (-4 if first else 0)
        assert float(out.metrics["second"]) == (not first)
        state = out.state
        assert int(state[1][0]["calls"]) == min(i + 1, 2)
    assert len(traces) == 1


def variances(estimator, eta, num_samples=2**17):
    draws = np.asarray(fsb.sample_gradients(estimator, loss, eta, jax.random.key(3), num_samples))
    return draws[:, 0].mean(0, dtype=float), draws[:, 0].var(0, dtype=float)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rho", [0.7, *(pytest.param(rho, marks=pytest.mark.slow) for rho in (0.0, 1.0))]
)
def test_the_noise_operator_has_the_variance_of_proposition_9(rho):
    """Var J / M + (1 - 1/M) Var(T_rho J), by enumeration of x and its neighbours."""
    samples, p = 5, 1 / (1 + np.exp(-np.float64(ETA[0])))
    states = np.array(list(itertools.product((0, 1), repeat=3)))
    weight = np.where(states, p, 1 - p).prod(-1)
    z = jnp.float32(-0.7 + 1.7 * states)
    run = bind(loss, jnp.broadcast_to(ETA, z.shape))
    slope = jax.grad(lambda z: run(given({"z": z}))[0].sum())(z)
    J = np.float64(slope) * 1.7 / 2 * (1 - np.where(states, p, 1 - p))  # DARN
    same = (states[:, None] == states[None]).astype(float)
    move = (rho * same + (1 - rho) * np.where(states, p, 1 - p)[None]).prod(-1)
    mean = weight @ J
    spread, smooth = weight @ (J - mean) ** 2, weight @ (move @ J - mean) ** 2
    found_mean, found = variances(fsb.noise_operator(fsb.darn(), rho, samples), ETA)
    expected = spread / samples + (1 - 1 / samples) * smooth
    np.testing.assert_allclose(found, expected, rtol=0.03)
    np.testing.assert_allclose(found_mean, mean, atol=5 * np.sqrt(expected.max() / 2**17))
    if rho == 0.7:
        _, independent = variances(fsb.noise_operator(fsb.darn(), rho, samples, False), ETA)
        np.testing.assert_allclose(independent, spread / samples, rtol=0.03)
        assert (found > 1.2 * independent).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", [pytest.param(fsb.foust, marks=pytest.mark.slow), fsb.gumbel_softmax]
)
def test_the_noise_operator_keeps_the_bias_in_several_layers(part):
    draws = [
        fsb.sample_gradients(e, chain_loss, PARAMS, jax.random.key(i), 2**15)
        for i, e in enumerate((part(), fsb.noise_operator(part(), 0.8, 3)))
    ]
    for a, b in zip(*map(jax.tree.leaves, draws), strict=True):
        a, b = np.asarray(a, float), np.asarray(b, float)
        error = np.sqrt((a.var(0) + b.var(0)) / len(a))
        assert (abs(a.mean(0) - b.mean(0)) <= 5 * error + 1e-6).all()


def components(estimator, num_samples=2**16):
    """Mean of every parameter's gradient beside the exact one, in standard errors."""
    draws = fsb.sample_gradients(estimator, chain_loss, PARAMS, jax.random.key(1), num_samples)
    exact = fsb.exact_gradient(chain_loss, PARAMS)
    means = jax.tree.map(lambda d: np.asarray(d, float).mean(0), draws)
    errors = jax.tree.map(lambda d: np.asarray(d, float).std(0) / np.sqrt(len(d)), draws)
    return means, errors, exact


def assert_agree(mean, error, exact):
    assert (abs(mean - exact) <= 5 * error + 1e-5).all()
    assert error.max() < 0.05 * abs(exact).max()


@pytest.mark.slow
def test_only_the_named_sites_have_a_gradient():
    means, errors, exact = components(fsb.only(["z1"], fsb.disarm()))
    assert_agree(means["offset"][1], errors["offset"][1], exact["offset"][1])
    assert_agree(means["weight"][0], errors["weight"][0], exact["weight"][0])
    assert_agree(means["c"], errors["c"], exact["c"])
    for nothing in (means["offset"][0], means["offset"][2], means["weight"][1]):
        np.testing.assert_array_equal(nothing, 0)


@pytest.mark.slow
def test_only_of_a_local_estimator(key):
    _, grads = jax.jit(fsb.value_and_grad(fsb.only(["z2"], fsb.st()), chain_loss))(PARAMS, key)
    _, whole = jax.jit(fsb.value_and_grad(fsb.st(), chain_loss))(PARAMS, key)
    np.testing.assert_array_equal(grads["offset"][0], 0)
    np.testing.assert_array_equal(grads["offset"][1], 0)
    np.testing.assert_allclose(grads["offset"][2], whole["offset"][2], rtol=1e-6)
    np.testing.assert_allclose(grads["c"], whole["c"], rtol=1e-6)


@pytest.mark.slow
def test_unbiased_estimators_side_by_side():
    shared = fsb.disarm()
    means, errors, exact = components(fsb.per_site({"z0": shared, "z1": fsb.arm(), "z2": shared}))
    for m, e, x in zip(*map(jax.tree.leaves, (means, errors, exact)), strict=True):
        assert (abs(m - x) <= 5 * e + 1e-5).all()
    assert_agree(means["offset"][0], errors["offset"][0], exact["offset"][0])
    assert_agree(means["offset"][2], errors["offset"][2], exact["offset"][2])


@pytest.mark.slow
def test_one_estimator_everywhere_is_that_estimator(key):
    for make in (fsb.darn, fsb.disarm):
        shared = make()
        mixed = fsb.per_site({"z0": shared, "z1": shared, "z2": shared})
        both = (jax.jit(fsb.value_and_grad(e, chain_loss)) for e in (make(), mixed))
        a, b = (estimate(PARAMS, key) for estimate in both)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), a, b)


@pytest.mark.slow
def test_a_local_estimator_sees_what_is_attached_below_it():
    """ST above, DisARM below: ST's mean on the loss with the lower layer summed out."""
    params = {"a": jnp.float32([[0.3]]), "w": jnp.float32(1.3), "b": jnp.float32(-0.4)}

    def two(params, sample):
        z = sample("z", fsb.Bernoulli(), params["a"])
        y = sample("y", fsb.Bernoulli(), params["w"] * z + params["b"])
        return (2 * y + y * z - z)[:, 0] + jnp.sin(z + y)[:, 0]

    def summed_out(params, sample):
        z = sample("z", fsb.Bernoulli(), params["a"])
        p = jax.nn.sigmoid(params["w"] * z + params["b"])
        ends = [two(params, lambda n, d, e, y=y: z if n == "z" else y + 0 * z) for y in (0.0, 1.0)]
        return (1 - p[:, 0]) * ends[0] + p[:, 0] * ends[1]

    estimator = fsb.per_site({"z": fsb.st(), "y": fsb.disarm()})
    got = fsb.sample_gradients(estimator, two, params, jax.random.key(0), 2**16)
    wanted = fsb.sample_gradients(fsb.st(), summed_out, params, jax.random.key(0), 2**14)
    for name in params:
        a, b = np.asarray(got[name], float), np.asarray(wanted[name], float)
        error = np.sqrt(a.var() / len(a) + b.var() / len(b))
        assert abs(a.mean() - b.mean()) < 4 * error
        assert error < 0.01


@pytest.mark.slow
def test_a_continuous_layer_beside_a_boolean_one():
    """x ~ N(w b, s): E (x - t)^2 = E (w b - t)^2 + s^2, in closed form."""
    params = {"eta": jnp.float32([[0.4]]), "w": jnp.float32(1.5), "s": jnp.float32([[0.3]])}

    def mixed(params, sample):
        b = sample("b", fsb.Bernoulli(), params["eta"])
        x = sample("x", fsb.Normal(), (params["w"] * b, params["s"]))
        return ((x - 0.45) ** 2)[:, 0]

    def closed(params):
        p = jax.nn.sigmoid(params["eta"][0, 0])
        ends = (0.45**2, (params["w"] - 0.45) ** 2)
        return (1 - p) * ends[0] + p * ends[1] + params["s"][0, 0] ** 2

    estimator = fsb.per_site({"b": fsb.disarm(), "x": fsb.pathwise()})
    draws = fsb.sample_gradients(estimator, mixed, params, jax.random.key(0), 2**16)
    for name, true in jax.grad(closed)(params).items():
        d = np.asarray(draws[name], float)
        assert (abs(d.mean(0) - true) < 4.5 * d.std(0) / 256).all(), name
        assert d.std() / 256 < 0.02


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fsb.average(fsb.st(), 0), "average: samples=0: it must be at least 1"),
        (lambda: fsb.switch(fsb.st(), fsb.arm(), -1), "switch: step=-1: it must be at least 0"),
        (lambda: fsb.noise_operator(fsb.st(), 1.5), "noise_operator: rho=1.5: it must lie in"),
        (lambda: fsb.noise_operator(fsb.st(), samples=0), "noise_operator: samples=0: it must be"),
        (lambda: fsb.noise_operator(fsb.arm()), "noise_operator: needs a local estimator, such as"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(fsb.FsbError, match=message):
        make()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (fsb.only(["z9"], fsb.st()), "only: no site 'z9'; the model has z0, z1, z2"),
        (fsb.per_site({"z0": fsb.st()}), "per_site: site 'z1' has no estimator; those listed are"),
        (
            fsb.per_site({f"z{i}": fsb.st() for i in range(4)}),
            "per_site: no site 'z3'; the model has z0, z1, z2",
        ),
    ],
)
def test_names_that_do_not_fit(estimator, message, key):
    with pytest.raises(fsb.FsbError, match=message):
        fsb.value_and_grad(estimator, chain_loss)(PARAMS, key)
