"""A random walk of 50 turns in a scan, whose moments are known exactly.

X_0 = 0; a step is +1 with probability exp(-X / theta), else -1; theta = 100. At 0 the step is
certain, so that X is never negative.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb

TURNS, WALKERS, THETA = 50, 2**14, 100.0
SECOND_MOMENT, SLOPE = 1130.39883, 7.5581882


def second_moment(theta):
    """E X^2 after 50 turns, from the distribution of X."""
    x = np.arange(TURNS + 2.0)
    up, law = np.exp(-x / theta), np.eye(TURNS + 2)[0]
    for _ in range(TURNS):
        law, before = np.zeros_like(law), law
        law[1:] += (before * up)[:-1]
        law[:-1] += (before * (1 - up))[1:]
    return (law * x**2).sum()


def walk(theta, sample):
    """X^2 of every walker; theta is [B], so that each has an estimate of its own."""

    def turn(x, _, sample):
        up = sample("up", fsb.Bernoulli(-1.0, 1.0), fsb.logit_of(jnp.exp(-x / theta))[:, None])
        return x + up[:, 0], None

    return fsb.scan(turn, sample, jnp.zeros_like(theta), length=TURNS)[0] ** 2


def test_the_numbers_are_those_of_the_distribution():
    assert second_moment(THETA) == pytest.approx(SECOND_MOMENT, abs=1e-5)
    slope = (second_moment(THETA + 1e-3) - second_moment(THETA - 1e-3)) / 2e-3
    assert slope == pytest.approx(SLOPE, abs=1e-6)


@pytest.mark.parametrize(
    "estimator", [fsb.reinforce(centering=True), fsb.rloo(4)], ids=["reinforce", "rloo"]
)
def test_value_and_gradient(estimator):
    key, theta = jax.random.key(0), jnp.full(WALKERS, THETA)
    control, state = fsb.init(estimator, walk, theta, key)
    estimate = jax.jit(fsb.stateful_value_and_grad(estimator, walk))
    for step in range(4):  # the running mean of reinforce settles
        out = estimate(theta, control, state, jax.random.fold_in(key, step))
        state = out.state
    slopes = WALKERS * np.asarray(out.params, float)
    assert abs(slopes.mean() - SLOPE) < 4 * slopes.std() / np.sqrt(WALKERS)
    assert slopes.std() / np.sqrt(WALKERS) < 0.05 * SLOPE  # else the line above says little
    losses = fsb.sites.bind(walk, theta)(fsb.sites.ancestral(key))[0]
    error = 4 * np.std(losses) / np.sqrt(WALKERS)
    assert abs(losses.mean() - SECOND_MOMENT) < error
    assert abs(out.value - SECOND_MOMENT) < error
