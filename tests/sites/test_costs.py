"""Costs: terms of the losses that later sites cannot change."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb
from fsb.sites import ancestral, bind

SPIN = fsb.Bernoulli(-1.0, 1.0)
ETA = jnp.array([[0.4], [-0.3]])
TURNS = 4


def costly(eta, sample):
    """Costs before, within, between and after scans, one of them nested; and losses beside."""
    first = sample("first", SPIN, eta)[:, 0]
    sample.cost(first * 0.3)

    def inner(h, x, sample):
        b = sample("c", SPIN, eta * x + h[:, None])[:, 0]
        sample.cost((b - h) ** 2)
        return 0.5 * h + b, None

    def turn(h, x, sample):
        b = sample("b", SPIN, eta + h[:, None])[:, 0]
        sample.cost((b + h) ** 2)
        h, _ = fsb.scan(inner, sample, h + b, x * jnp.ones(2), name="inner")
        return jnp.tanh(h), None

    h, _ = fsb.scan(turn, sample, first, jnp.array([0.4, -0.6]))
    sample.cost(h * first)
    last = sample("last", SPIN, eta * h[:, None])[:, 0]
    return (last + h) ** 2


def summed(eta, sample):
    """The same losses without costs."""
    total = 0
    first = sample("first", SPIN, eta)[:, 0]
    total = total + first * 0.3
    h = first
    for t, x in enumerate((0.4, -0.6)):
        b = sample(f"b{t}", SPIN, eta + h[:, None])[:, 0]
        total = total + (b + h) ** 2
        h = h + b
        for i in range(2):
            c = sample(f"c{t}{i}", SPIN, eta * x + h[:, None])[:, 0]
            total = total + (c - h) ** 2
            h = 0.5 * h + c
        h = jnp.tanh(h)
    total = total + h * first
    last = sample("last", SPIN, eta * h[:, None])[:, 0]
    return total + (last + h) ** 2


@pytest.mark.slow
def test_enumeration():
    np.testing.assert_allclose(
        fsb.exact_gradient(costly, ETA), fsb.exact_gradient(summed, ETA), rtol=2e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("make", [fsb.reinforce, fsb.rloo, fsb.nvil, fsb.disarm, fsb.muprop])
def test_unbiased(make, key):
    eta = jnp.tile(ETA, (2**13, 1))
    control, state = fsb.init(make(), costly, eta, key)
    estimate = jax.jit(fsb.stateful_value_and_grad(make(), costly))
    g = len(eta) * np.asarray(estimate(eta, control, state, key).params).reshape(-1, 2)
    true = 2 * np.asarray(fsb.exact_gradient(summed, ETA))[:, 0]
    assert (abs(g.mean(0) - true) < 4.5 * g.std(0) / np.sqrt(len(g))).all()


def walk(eta, sample):
    def turn(carry, _, sample):
        sample.cost(sample("b", SPIN, eta)[:, 0])
        return carry, None

    fsb.scan(turn, sample, 0, length=TURNS)
    return jnp.zeros(len(eta))


@pytest.mark.slow
def test_what_is_downstream_of_a_turn(key):
    losses, (site,) = bind(walk, jnp.zeros((64, 1)))(ancestral(key))
    later = np.cumsum(np.asarray(site.z)[:, ::-1, 0], 1)[:, ::-1]
    np.testing.assert_allclose(site.downstream, later)
    np.testing.assert_allclose(losses, later[:, 0])


@pytest.mark.slow
def test_the_variance_is_that_of_later_costs(key):
    """At p = 1/2 the score is z: Var sum_t z_t (z_t + ... + z_T) has T (T - 1) / 2 terms of 1."""
    eta = jnp.zeros((2**13, 1))
    found = fsb.value_and_grad(fsb.reinforce(), walk)(eta, key)[1]
    variance = np.var(len(eta) * np.asarray(found, float))
    assert variance == pytest.approx(TURNS * (TURNS - 1) / 2 / 4 * 1, rel=0.1)


@pytest.mark.parametrize("shape", [(), (2, 1)])
def test_a_cost_of_another_shape(shape, key):
    def loss(eta, sample):
        sample.cost(jnp.zeros(shape))
        return eta[:, 0]

    with pytest.raises(fsb.FsbError, match=r"sample\.cost: a cost must be one number for each"):
        bind(loss, ETA)(ancestral(key))
