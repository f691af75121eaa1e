"""REBAR and RELAX beyond the contract: the formula draw by draw, and what is learned."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from scipy.special import expit

import fsb
from fsb.sites import site_key

KEY = jax.random.key(3)
RNG = np.random.default_rng(1)
PARAMS = {
    "a": jnp.float32(RNG.normal(size=(4, 3))),
    "b": jnp.float32(RNG.normal(size=(4, 2, 3))),
    "w": jnp.float32(RNG.normal(size=(3, 6))),
}


def loss(params, sample):
    """A Boolean layer, then a categorical one; the gradients of "a" and "b" are the estimates."""
    z = sample("z", fsb.Bernoulli(-1.0, 1.0), params["a"])
    y = sample("y", fsb.Categorical(), params["b"] + (z @ params["w"]).reshape(4, 2, 3))
    value = (y * jnp.arange(3.0)[None, None]).sum(-1)
    return jnp.sin(value.sum(-1) + z[:, 0]) + (z[:, 1] + 0.3 * z[:, 2] - value[:, 0] - 0.2) ** 2


def one_unit(eta, sample, target=0.45):
    return ((sample("b", fsb.Bernoulli(), eta) - target) ** 2).sum(-1)


def fitted(estimator, seed=0, spread=0.3):
    """A control that has left its start."""
    control, state = fsb.init(estimator, loss, PARAMS, KEY)
    flat, unravel = ravel_pytree(control)
    return unravel(flat + spread * jax.random.normal(jax.random.key(seed), flat.shape)), state


def textbook(eta, u, v, temperature, scale):
    """REBAR for one unit and (z - 0.45)^2, from uniform numbers rescaled to the side drawn."""
    f = lambda z: (z - 0.45) ** 2
    p = expit(eta)
    b = (u < p).astype(float)

    def c(noise):
        return f(expit((eta_ + np.log(noise / (1 - noise))) / temperature))

    values = []
    for eta_ in (eta - 1e-5, eta, eta + 1e-5):
        given = np.where(b == 1, 1 - expit(eta_) * (1 - v), (1 - expit(eta_)) * (1 - v))
        values.append((c(1 - u), c(given)))
    (free_low, given_low), (_, given), (free_high, given_high) = values
    slope = (free_high - free_low - given_high + given_low) / 2e-5
    return (f(b) - scale * given) * (b - p) + scale * slope


@pytest.mark.slow
def test_the_formula_draw_by_draw():
    eta = np.linspace(-3, 3, 50)[:, None]
    with jax.enable_x64(True):
        rebar = fsb.rebar(0.7, 0.6, False, False)
        _, grads = jax.jit(fsb.value_and_grad(rebar, one_unit))(jnp.asarray(eta), KEY)
        keys = KEY, jax.random.fold_in(KEY, 1)
        u, v = (np.asarray(fsb.Bernoulli().noise(site_key(k, "b"), jnp.asarray(eta))) for k in keys)
    np.testing.assert_allclose(
        50 * np.asarray(grads), textbook(eta, u, v, 0.7, 0.6), rtol=1e-5, atol=1e-8
    )


@pytest.mark.slow
def test_without_a_control_variate_it_is_reinforce():
    estimators = fsb.rebar(scale=0.0, learn_temperature=False, learn_scale=False), fsb.reinforce()
    first, second = (jax.jit(fsb.value_and_grad(e, loss))(PARAMS, KEY) for e in estimators)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), first, second)


@pytest.mark.slow
def test_unbiased_whatever_is_learned():
    """The network is zero at first, so that only here it is put to the test."""
    relax = fsb.relax(hidden=4)
    found = fsb.sample_gradients(relax, loss, PARAMS, jax.random.key(5), 2**14, 1024, fitted(relax))
    exact = fsb.exact_gradient(loss, PARAMS)
    projection, square = 0.0, 0.0
    for name, e in exact.items():
        e, g = np.asarray(e, float), np.asarray(found[name], float)
        assert (abs(g.mean(0) - e) <= 5 * g.std(0) / np.sqrt(len(g)) + 1e-5).all(), name
        projection = projection + np.tensordot(g, e, e.ndim)
        square += (e * e).sum()
    relative = projection / square
    standard_error = relative.std() / np.sqrt(len(relative))
    assert 7 * standard_error < 0.05
    assert abs(relative.mean() - 1) < 4 * standard_error


@pytest.mark.slow
def test_the_objective_is_the_second_moment_and_its_gradient_is_right():
    """Against finite differences of the mean of g^2, with the same noise."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), PARAMS)
        estimator = fsb.relax(hidden=3)
        control, _ = fitted(estimator)
        flat, unravel = ravel_pytree(jax.tree.map(lambda x: x.astype(jnp.float64), control))

        @jax.jit
        def gradients(flat):
            return fsb.stateful_value_and_grad(estimator, loss)(params, unravel(flat), (), KEY)

        def second_moment(flat):
            grads = gradients(flat).params
            return 4 * float((grads["a"] ** 2).sum() + (grads["b"] ** 2).sum())

        found, _ = ravel_pytree(gradients(flat).control)
        for direction in np.random.default_rng(0).normal(size=(6, flat.size)):
            step = 1e-4 * direction
            difference = second_moment(flat + step) - second_moment(flat - step)
            assert difference / 2e-4 == pytest.approx(float(found @ direction), rel=1e-3)
        for name, start in control.items():  # the knobs one by one, beside the many weights
            for knob in ("log_temperature", "scale"):
                assert abs(unravel(found)[name][knob]) > 1e-3, start


@pytest.mark.slow
def test_the_model_does_not_feel_what_is_learned():
    """Its gradients are the same where nothing is."""
    eta, results = jnp.linspace(-2, 2, 5)[:, None], []
    for learn in (True, False):
        estimator = fsb.rebar(0.7, 0.8, learn, learn)
        control, state = fsb.init(estimator, one_unit, eta, KEY)
        estimate = jax.jit(fsb.stateful_value_and_grad(estimator, one_unit))
        results.append(estimate(eta, control, state, KEY))
    learned, fixed = results
    assert jax.tree.leaves(fixed.control) == []
    assert all(np.abs(x) > 1e-6 for x in jax.tree.leaves(learned.control))
    np.testing.assert_allclose(learned.params, fixed.params, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "target"), [(fsb.rebar, -0.5), (functools.partial(fsb.relax, hidden=8), 0.45)]
)
def test_learning_lowers_the_variance(make, target):
    """The network does where the relaxed loss says little: it is high at both ends alike."""
    estimator, eta = make(temperature=2.0, scale=0.3), jnp.linspace(-1, 1, 16)[:, None]
    loss = functools.partial(one_unit, target=target)
    estimate = fsb.stateful_value_and_grad(estimator, loss)
    start, state = fsb.init(estimator, loss, eta, KEY)
    optimizer = optax.adam(0.02)

    @jax.jit
    def learn(control):
        def step(carry, key):
            control, moments = carry
            updates, moments = optimizer.update(estimate(eta, control, state, key).control, moments)
            return (optax.apply_updates(control, updates), moments), None

        keys = jax.random.split(KEY, 500)
        return jax.lax.scan(step, (control, optimizer.init(control)), keys)[0][0]

    def variance(control):
        draws = fsb.sample_gradients(
            estimator, loss, eta, jax.random.key(1), 2000, fitted=(control, state)
        )
        return float(draws.var(0).sum())

    control = learn(start)
    for knob in ("log_temperature", "scale"):
        assert abs(control["b"][knob] - start["b"][knob]) > 0.1
    assert variance(control) < 0.2 * variance(start)


@pytest.mark.slow
def test_only_what_is_learned_is_in_the_control():
    def names(estimator):
        control, state = fsb.init(estimator, loss, PARAMS, KEY)
        assert state == ()
        assert control.keys() == {"y", "z"}
        return [sorted(site) for site in control.values()]

    assert names(fsb.rebar()) == 2 * [["log_temperature", "scale"]]
    assert names(fsb.rebar(learn_temperature=False)) == 2 * [["scale"]]
    assert names(fsb.rebar(learn_scale=False)) == 2 * [["log_temperature"]]
    assert names(fsb.relax(1.0, 1.0, False, False)) == 2 * [["network"]]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: fsb.rebar(temperature=0.0), "temperature=0.0: it must be positive and finite"),
        (lambda: fsb.relax(temperature=np.inf), "temperature=inf: it must be positive and finite"),
        (lambda: fsb.rebar(scale=np.nan), "rebar: scale=nan: it must be finite"),
        (lambda: fsb.relax(scale=np.inf), "relax: scale=inf: it must be finite"),
        (lambda: fsb.relax(hidden=0), "relax: hidden=0: it must be at least 1"),
    ],
)
def test_refusals(make, says):
    with pytest.raises(fsb.FsbError, match=f"^{says}$"):
        make()
