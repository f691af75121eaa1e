"""Programs that are compiled once, and never reused for a function that has changed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb
from fsb.runtime import trees

ETA = jnp.zeros((1, 1))
READ = {"t": 0.0, "table": np.zeros(3, np.float32), "big": np.zeros(5000, np.float32)}


class Model:
    def __init__(self, t):
        self.t = t

    def loss(self, eta, sample):
        return (sample("b", fsb.Bernoulli(), eta)[:, 0] - self.t) ** 2


def over_a_global(eta, sample):
    z = sample("b", fsb.Bernoulli(), eta)[:, 0]
    return (z - READ["t"] - READ["table"][1] - READ["big"][4000]) ** 2


@pytest.fixture
def compilations(monkeypatch):
    """How often a program was compiled."""
    seen = []
    original = jax.stages.Lowered.compile

    def compile(self, *args, **kwargs):
        seen.append(1)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(jax.stages.Lowered, "compile", compile)
    monkeypatch.setattr(trees, "_compiled", {})
    return seen


def derivative(t):
    """Of E (b - t)^2 in the logit at 0."""
    return 0.25 * ((1 - t) ** 2 - t**2)


@pytest.mark.slow
def test_an_object_that_changed(compilations):
    model = Model(0.0)
    for t in (0.0, 5.0, 0.0, 5.0):
        model.t = t
        assert fsb.exact_gradient(model.loss, ETA).item() == pytest.approx(derivative(t))
    assert len(compilations) == 2


@pytest.mark.slow
@pytest.mark.parametrize("what", ["t", "table", "big"])
def test_a_global_that_changed(what, monkeypatch, compilations):
    for t in (0.0, 5.0):
        value = t if what == "t" else np.full_like(READ[what], t)
        monkeypatch.setitem(READ, what, value)
        found = fsb.exact_gradient(over_a_global, ETA).item()
        assert found == pytest.approx(derivative(t))
        draws = fsb.sample_gradients(
            fsb.local_expectation(), over_a_global, ETA, jax.random.key(0), 2
        )
        assert draws.ravel().tolist() == pytest.approx([derivative(t)] * 2)


@pytest.mark.slow
def test_a_loop_compiles_once(compilations):
    for seed in range(3):
        eta = jnp.full((1, 1), 0.1 * seed)
        fsb.exact_gradient(lambda eta, s: Model(0.3).loss(eta, s), eta)  # a new object each time
    assert len(compilations) == 1


def test_the_names_of_params_are_kept_apart(compilations):
    for name in "ab":
        loss = lambda p, s: Model(0.0).loss(p[name], s)  # noqa: B023
        assert list(fsb.exact_gradient(loss, {name: ETA})) == [name]


@pytest.mark.slow
def test_within_other_transformations(compilations):
    """jit, vmap and grad, also over what the loss closes over."""
    at = lambda t, eta: fsb.exact_gradient(Model(t).loss, eta)
    assert jax.jit(at)(5.0, ETA).item() == pytest.approx(derivative(5.0))
    found = jax.vmap(at, (0, None))(jnp.array([0.0, 5.0]), ETA)
    np.testing.assert_allclose(found.ravel(), [derivative(0.0), derivative(5.0)], rtol=1e-5)
    slope = jax.grad(lambda t: at(t, ETA).sum())(1.0)
    assert float(slope) == pytest.approx(-0.5)


def test_few_programs_are_kept(compilations, monkeypatch):
    monkeypatch.setattr(trees, "KEPT", 2)
    for n in range(4):
        trees.call(lambda x: x + n, jnp.zeros(()))  # noqa: B023
    assert len(trees._compiled) == 2
    assert trees.call(lambda x: x + 3, jnp.zeros(())).item() == 3
    assert len(compilations) == 4
