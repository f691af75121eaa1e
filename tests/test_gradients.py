"""From an estimator to a value and gradients; estimators with control parameters and state."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb
import fsb.sites
from fsb.errors import FsbError
from fsb.estimators._attach import attach_all
from fsb.sites import ancestral
from fsb.types import Aux, Estimator

DIST = fsb.Bernoulli(-1.0, 1.0)
PARAMS = {"eta": jnp.array([[0.3, -0.7], [1.0, 0.1]]), "w": jnp.array([[0.5], [-2.0]])}


def loss(params, sample):
    z = sample("z", DIST, params["eta"])
    return jnp.sin(z @ params["w"])[:, 0] + z[:, 0] * z[:, 1]


def drawn(params, key):
    """The losses and the draw behind them."""
    losses, (site,) = fsb.sites.bind(loss, params)(ancestral(key))
    return losses, site.z


def toy(reach=1.0):
    """REINFORCE with a learned constant baseline and a running mean of the losses as state.

    Its losses and its objective both depend on the control and on the model, on purpose.
    """

    def init(key, sites):
        assert [site.name for site in sites] == ["z"]
        return {"baseline": jnp.float32(0.2)}, jnp.zeros(())

    def surrogate(run, control, state, key):
        losses, sites = run(ancestral(key))
        (site,) = sites
        score = site.dist.decode(site.z) - jax.nn.sigmoid(site.eta)
        centred = losses - control["baseline"] - state
        objective = reach * (centred[:, None] * score).sum() ** 2
        losses = attach_all(losses, sites, [centred[:, None] * score])
        losses = losses + reach * control["baseline"] ** 2
        return losses, Aux(objective, 0.9 * state + 0.1 * losses.mean(), {"toy_metric": objective})

    return Estimator(init, surrogate)


@pytest.mark.slow
def test_the_value_is_the_mean_of_the_losses(key):
    losses, _ = drawn(PARAMS, key)
    value, _ = jax.jit(fsb.value_and_grad(fsb.darn(), loss))(PARAMS, key)
    assert value.shape == ()
    assert float(value) == pytest.approx(float(losses.mean()), rel=1e-6)


def test_the_gradient_is_that_of_the_mean(key):
    """Of ST by hand: the average over the batch of cotangent times slope."""
    _, z = drawn(PARAMS, key)
    _, grads = jax.jit(fsb.value_and_grad(fsb.st(), loss))(PARAMS, key)
    eta, w, z = (np.asarray(x, np.float64) for x in (PARAMS["eta"], PARAMS["w"], z))
    outer = np.cos(z @ w)
    slope = 2 / (2 + np.exp(eta) + np.exp(-eta))
    np.testing.assert_allclose(grads["eta"], (outer * w.T + z[:, ::-1]) * slope / 2, rtol=1e-5)
    np.testing.assert_allclose(grads["w"], (outer * z).sum(0)[:, None] / 2, rtol=1e-5)


@pytest.mark.slow
def test_it_composes(key):
    estimate = fsb.value_and_grad(fsb.darn(), loss)
    keys = jax.random.split(key, 4)
    plain = [jax.jit(estimate)(PARAMS, k) for k in keys]
    value, grads = jax.jit(jax.vmap(estimate, (None, 0)))(PARAMS, keys)
    for i, (v, g) in enumerate(plain):
        assert float(value[i]) == pytest.approx(float(v), rel=1e-5)
        np.testing.assert_allclose(grads["eta"][i], g["eta"], rtol=1e-5)


@pytest.mark.slow
def test_estimators_without_a_state_return_empty_ones(key):
    assert fsb.init(fsb.foust(), loss, PARAMS, key) == ((), ())
    out = jax.jit(fsb.stateful_value_and_grad(fsb.foust(), loss))(PARAMS, (), (), key)
    assert (out.control, out.state, out.metrics) == ((), (), {})
    value, grads = jax.jit(fsb.value_and_grad(fsb.foust(), loss))(PARAMS, key)
    assert out.value == value
    np.testing.assert_array_equal(out.params["eta"], grads["eta"])


def test_a_stateful_estimator_asks_for_the_full_form(key):
    with pytest.raises(FsbError, match=r"has state: use fsb\.stateful_value_and_grad"):
        fsb.value_and_grad(toy(), loss)(PARAMS, key)


@pytest.mark.slow
def test_control_and_model_do_not_leak_into_each_other(key):
    control, state = fsb.init(toy(), loss, PARAMS, key)
    assert float(control["baseline"]) == pytest.approx(0.2)
    outs = {
        reach: jax.jit(fsb.stateful_value_and_grad(toy(reach), loss))(PARAMS, control, state, key)
        for reach in (0.0, 1.0, 1000.0)
    }
    for name in PARAMS:  # whatever the objective weighs, the model does not feel it
        for reach in (1.0, 1000.0):
            np.testing.assert_array_equal(outs[reach].params[name], outs[0.0].params[name])
    losses, z = (np.asarray(x, np.float64) for x in drawn(PARAMS, key))
    score = (z + 1) / 2 - 1 / (1 + np.exp(-np.asarray(PARAMS["eta"], np.float64)))
    centred = losses - 0.2
    by_hand = 2 * (centred[:, None] * score).sum() * -score.sum()  # of the objective alone
    for reach, out in outs.items():
        assert float(out.control["baseline"]) == pytest.approx(reach * by_hand, rel=1e-4)
    np.testing.assert_allclose(outs[0.0].params["eta"], centred[:, None] * score / 2, rtol=1e-4)


@pytest.mark.slow
def test_state_and_metrics_come_back(key):
    out = jax.jit(fsb.stateful_value_and_grad(toy(), loss))(
        PARAMS, {"baseline": jnp.float32(0.2)}, jnp.float32(2.0), key
    )
    value = float(drawn(PARAMS, key)[0].mean()) + 0.04
    assert float(out.value) == pytest.approx(value, rel=1e-5)
    assert float(out.state) == pytest.approx(1.8 + 0.1 * value, rel=1e-5)
    assert list(out.metrics) == ["toy_metric"]


@pytest.mark.slow
def test_the_mean_of_an_unbiased_stateful_estimator_is_exact(key):
    estimate = fsb.stateful_value_and_grad(toy(), loss)
    control, state = {"baseline": jnp.float32(0.2)}, jnp.float32(0.0)
    keys = jax.random.split(key, 20_000)
    draws = jax.jit(jax.vmap(lambda k: estimate(PARAMS, control, state, k).params))(keys)
    exact = jax.jit(lambda p: fsb.exact_gradient(loss, p))(PARAMS)
    for name in PARAMS:
        found = np.asarray(draws[name], np.float64)
        error = found.std(0) / np.sqrt(len(found))
        assert (abs(found.mean(0) - exact[name]) < 4 * error).all()
        assert error.max() < 0.01
