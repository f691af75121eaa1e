"""Importing fsb is enough for right numbers where a jaxlib computes wrong ones."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb
from fsb.estimators.local import softmax_pull
from fsb.runtime import xla

SHAPE = (100, 20, 10)
RNG = np.random.default_rng(0)


def test_several_cotangents_of_one_softmax():
    p = np.exp(RNG.normal(size=SHAPE))
    p, g = p / p.sum(-1, keepdims=True), RNG.normal(size=(3, *SHAPE))
    found = jax.jit(jax.vmap(softmax_pull, (None, 0)))(jnp.float32(p), jnp.float32(g))
    np.testing.assert_allclose(found, p * (g - (p * g).sum(-1, keepdims=True)), atol=1e-5)


@pytest.mark.slow
def test_the_average_over_runs_of_a_categorical_layer():
    """At the size of a real layer: small ones were right."""
    eta, weights = jnp.float32(RNG.normal(size=SHAPE)), jnp.float32(RNG.normal(size=(200, 5)))

    def loss(eta, sample):
        z = sample("z", fsb.Categorical(), eta)
        return jax.nn.softplus(z.reshape(len(z), -1) @ weights).sum(-1)

    estimate = lambda s: jax.jit(fsb.value_and_grad(fsb.local_expectation(s), loss))
    key = jax.random.key(0)
    alone = [estimate(1)(eta, k)[1] for k in jax.random.split(key, 3)]
    np.testing.assert_allclose(estimate(3)(eta, key)[1], sum(alone) / 3, atol=1e-6)


def test_the_flag_is_set_for_that_version_alone(monkeypatch):
    jax.devices()  # begins with the flags that there are
    monkeypatch.setenv("XLA_FLAGS", "--other")
    monkeypatch.setattr(xla, "version", lambda _: "0.11.2")
    xla.avoid_wrong_fusion()
    assert os.environ["XLA_FLAGS"] == "--other"
    monkeypatch.setattr(xla, "version", lambda _: "0.10.2")
    with pytest.warns(UserWarning, match="import fsb first"):
        xla.avoid_wrong_fusion()
    assert os.environ["XLA_FLAGS"] == f"--other {xla.FLAG}"
    xla.avoid_wrong_fusion()  # it is there
    assert os.environ["XLA_FLAGS"].count(xla.FLAG) == 1
