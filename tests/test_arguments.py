"""What users pass by mistake, each answered in one line; params, aux and losses of every kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb

ETA = jnp.array([[0.4, -1.0], [2.0, 0.1]])
KEY = jax.random.key(3)


def site(name="b", dist=fsb.Bernoulli(), eta=None):  # noqa: B008
    return lambda params, sample: sample(name, dist, params if eta is None else eta).sum(-1)


def losses(value):
    """A loss that returns this function of a proper one."""
    return lambda params, sample: value(site()(params, sample))


@dataclass(frozen=True)
class Half:
    """Looks like a distribution, and is none."""

    reparameterized = False

    def sample(self, key, eta):
        return eta


ST = fsb.st()
MISTAKES = {
    "swapped": (lambda: fsb.value_and_grad(site(), ST), "the two arguments are swapped"),
    "factory": (lambda: fsb.value_and_grad(fsb.st, site()), "value_and_grad: st is a function"),
    "no estimator": (lambda: fsb.value_and_grad("st", site()), "must be one, not a str; such as"),
    "no loss": (lambda: fsb.value_and_grad(ST, 3.0), "the loss must be a function, not a float"),
    "init": (lambda: fsb.init(fsb.st, site(), ETA, KEY), "init: st is a function"),
    "stateful": (lambda: fsb.stateful_value_and_grad(fsb.st, site()), "st is a function"),
    "key": (lambda: fsb.value_and_grad(ST, site())(ETA, 0), "not an int"),
    "key and params": (
        lambda: fsb.value_and_grad(ST, site())(KEY, ETA),
        "the key must be a random key such as jax.random.key(0), not an array float32[2, 2]",
    ),
    "name": (lambda: site(3), "sample(name, dist, eta): the name must be a string, not an int"),
    "name and dist": (lambda: site(fsb.Bernoulli(), "b"), "must be a string, not a Bernoulli"),
    "class": (lambda: site(dist=fsb.Bernoulli), "site 'b': Bernoulli is a class; write Bernoulli"),
    "word": (lambda: site(dist="bernoulli"), "must be a distribution, such as Bernoulli(), not a"),
    "half": (lambda: site(dist=Half()), "not a Half; it has no noise"),
    "float": (lambda: site(eta=0.3), "site 'b': eta must be an array [B, D...], not a float"),
    "floats": (lambda: site(dist=fsb.Normal(), eta=(0.0, 1.0)), "not a tuple"),
    "no pair": (lambda: site(dist=fsb.Normal()), "of shapes (2, 2); give eta = (loc, scale)"),
    "no two": (lambda: site(dist=fsb.Gamma()), "give eta = (shape, scale)"),
    "no ends": (lambda: site(dist=fsb.Uniform()), "give eta = (low, high)"),
    "no factor": (lambda: site(dist=fsb.MultivariateNormal()), "give eta = (loc, factor)"),
    "no beta": (lambda: site(dist=fsb.Beta()), "give eta = (alpha, beta)"),
    "none": (lambda: site(eta=()), "site 'b': eta must be an array [B, D...], not a tuple"),
    "integers": (lambda: site(eta=jnp.zeros((2, 3), int)), "must be floating-point, not int32"),
    "scalar": (
        lambda: losses(jnp.mean),
        "[B]; got (); leave out the mean over the batch; a single",
    ),
    "matrix": (
        lambda: losses(lambda x: x[:, None]),
        "[B]; got (2, 1); sum over all axes but the first",
    ),
    "list": (lambda: losses(list), "[B], not a list; stack them with jax.numpy.stack"),
    "pair": (lambda: losses(lambda x: (x, 3)), "with has_aux=True it may return (losses, aux)"),
    "nothing": (lambda: losses(lambda x: None), "a loss must return an array [B], not a NoneType"),
    "number": (lambda: losses(lambda x: 3.0), "a loss must return an array [B], not a float"),
    "empty": (lambda: losses(lambda x: x[:0]), "the batch is empty"),
    "complex": (lambda: losses(lambda x: x + 1j), "must return real numbers, not complex64"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name):
    make, words = MISTAKES[name]

    def use():
        fsb.value_and_grad(ST, make())(ETA, KEY)

    with pytest.raises(fsb.FsbError) as caught:
        use()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 150


def test_an_empty_batch_is_refused_whatever_samples_it():
    for estimator in (fsb.st(), fsb.reinforce(), fsb.exact(), fsb.rloo(2)):
        with pytest.raises(fsb.FsbError, match="the batch is empty"):
            fsb.value_and_grad(estimator, site())(jnp.zeros((0, 3)), KEY)


@pytest.mark.slow
def test_old_keys_and_arrays_of_numpy_are_taken():
    found = fsb.value_and_grad(ST, site())(np.asarray(ETA), jax.random.PRNGKey(3))
    same = fsb.value_and_grad(ST, site())(ETA, KEY)
    jax.tree.map(np.testing.assert_array_equal, found, same)


@jax.tree_util.register_dataclass
@dataclass
class Module:
    """All leaves are data, as in an Equinox module."""

    weight: Any
    steps: Any
    flag: Any
    key: Any
    activation: Any
    rate: Any


MODULE = Module(ETA, jnp.int32(2), True, jax.random.key(0), jnp.tanh, 0.5)


def module_loss(m, sample):
    assert m.rate == 0.5 and m.flag is True  # noqa: PT018  # as they are, not traced
    z = sample("b", fsb.Bernoulli(), m.activation(m.weight) * m.steps)
    return (z * jax.random.normal(m.key, (2,))[None]).sum(-1) * m.rate


ESTIMATORS = {
    e: getattr(fsb, e) for e in ("st", "reinforce", "exact", "disarm", "local_expectation")
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ESTIMATORS)
def test_params_with_leaves_of_every_kind(name):
    estimator = ESTIMATORS[name]()
    value, grads = fsb.value_and_grad(estimator, module_loss)(MODULE, KEY)
    assert (grads.steps, grads.flag, grads.key, grads.activation, grads.rate) == (None,) * 5
    plain = lambda w, s: module_loss(Module(w, *list(vars(MODULE).values())[1:]), s)
    same, expected = fsb.value_and_grad(estimator, plain)(ETA, KEY)
    assert value == same
    np.testing.assert_array_equal(grads.weight, expected)


@pytest.mark.slow
def test_diagnostics_take_them_too():
    exact = fsb.exact_gradient(module_loss, MODULE)
    draws = fsb.sample_gradients(fsb.local_expectation(), module_loss, MODULE, KEY, 3)
    assert draws.weight.shape == (3, 2, 2)
    assert exact.rate is draws.activation is None
    np.testing.assert_allclose(draws.weight[0], exact.weight, rtol=1e-5)


def test_params_of_python_floats_are_differentiated():
    loss = lambda p, sample: p["scale"] * site()(p["eta"], sample)
    value, grads = fsb.value_and_grad(ST, loss)({"scale": 2.0, "eta": ETA}, KEY)
    assert float(grads["scale"]) == pytest.approx(float(value) / 2)


def test_params_without_anything_to_differentiate():
    value, grads = fsb.value_and_grad(ST, lambda p, s: site()(ETA, s) * p["n"])({"n": 3}, KEY)
    assert grads == {"n": None}
    assert float(value) >= 0


def with_aux(params, sample):
    z = sample("b", fsb.Bernoulli(), params)
    return z.sum(-1), {"z": z, "count": jnp.int32(z.size)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["st", "reinforce", "exact", "disarm", "foust"])
def test_aux(name):
    """The draws of the run itself, for estimators that make one."""
    estimator = getattr(fsb, name)()
    (value, aux), grads = jax.jit(fsb.value_and_grad(estimator, with_aux, has_aux=True))(ETA, KEY)
    same, expected = jax.jit(fsb.value_and_grad(estimator, site()))(ETA, KEY)
    assert float(value) == pytest.approx(float(same), rel=1e-6)
    np.testing.assert_allclose(grads, expected, rtol=1e-6)
    assert aux["count"] == 4
    if name != "exact":
        assert float(aux["z"].sum(-1).mean()) == pytest.approx(float(value), rel=1e-6)


@pytest.mark.slow
def test_aux_of_an_estimator_with_state():
    estimator = fsb.reinforce(centering=True)
    control, state = fsb.init(estimator, with_aux, ETA, KEY, has_aux=True)
    out = fsb.stateful_value_and_grad(estimator, with_aux, has_aux=True)(ETA, control, state, KEY)
    assert float(out.aux["z"].sum(-1).mean()) == pytest.approx(float(out.value))
    plain = fsb.stateful_value_and_grad(estimator, site())(ETA, control, state, KEY)
    np.testing.assert_array_equal(out.params, plain.params)
    assert plain.aux == ()


@pytest.mark.slow
def test_a_run_with_aux_is_computed_once():
    """By the compiler: no more operations than without."""
    count = lambda loss, **how: (
        jax.jit(fsb.value_and_grad(ST, loss, **how)).lower(ETA, KEY).compile().as_text()
    ).count("logistic(")
    assert count(with_aux, has_aux=True) == count(site())


def test_aux_must_be_half_of_a_pair():
    with pytest.raises(fsb.FsbError, match="must return a pair"):
        fsb.value_and_grad(ST, site(), has_aux=True)(ETA, KEY)


COUNTS = {
    "integers": lambda z: (2 * z.sum(-1)).astype(int),
    "Booleans": lambda z: z.sum(-1) > 0.5,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTS)
@pytest.mark.parametrize("name", ["reinforce", "rloo", "disarm", "local_expectation", "exact"])
def test_losses_of_integers_and_booleans(kind, name):
    """The gradient is that of the same losses as floating-point numbers."""

    def whole(eta, sample):
        return COUNTS[kind](sample("b", fsb.Bernoulli(), eta))

    estimate = jax.jit(fsb.value_and_grad(getattr(fsb, name)(), whole))
    floats = lambda eta, sample: whole(eta, sample).astype("float32")
    same = jax.jit(fsb.value_and_grad(getattr(fsb, name)(), floats))
    for seed in range(3):
        found, expected = (f(ETA, jax.random.key(seed)) for f in (estimate, same))
        np.testing.assert_array_equal(found[1], expected[1])
        assert found[0] == expected[0]
    assert abs(np.asarray(fsb.exact_gradient(whole, ETA))).min() > 0.01
