"""DisARM of multi-sample bounds: draw by draw, its mean and variance by sums, and its edges."""

from __future__ import annotations

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_coupled import ETA, KEY, P, cells, f, layer, pairs, states
from test_score_function import TWO, expected_loss, two_layers

import fsb
from fsb.diagnostics import evaluations
from fsb.sites import site_key

RUNS = 2


def negative_bound(losses):
    return -np.log(np.exp(-losses).mean(0))


def by_hand(b, other, together=False):
    """The estimate [N, 3] for values and partners [runs, N, 3], from the formula.

    ``together``: all runs turn into their partners at once, as in ``multi_sample(disarm())``.
    """
    losses, turned = f(b), f(other)
    own = np.eye(len(b))[:, :, None] > 0
    swapped = np.stack([np.where(one, turned, losses) for one in own])
    changed = [negative_bound(turned if together else s) for s in swapped]
    signal = negative_bound(losses) - np.stack(changed)
    sign = (2 * b - 1) * (b != other) * np.maximum(P, 1 - P)
    return (0.5 * signal[..., None] * sign).sum(0)


@pytest.mark.slow
@pytest.mark.parametrize("together", [False, True])
def test_draw_by_draw(together):
    number = 2**10
    params = {"eta": jnp.float32(np.tile(ETA, (number, 1))), "probe": jnp.zeros((number, 3))}
    estimator = fsb.multi_sample(fsb.disarm(), RUNS) if together else fsb.iw_disarm(RUNS)
    grads = jax.jit(fsb.value_and_grad(estimator, layer))(params, KEY)[1]["eta"]
    keys = jax.random.split(site_key(KEY, "runs") if together else KEY, RUNS)
    u = np.stack([jax.random.uniform(site_key(key, "b"), (number, 3)) for key in keys])
    expected = by_hand(*pairs(u.astype(float)), together)
    np.testing.assert_allclose(number * grads, expected, atol=1e-5)


def test_unbiased_for_the_bound_and_with_less_variance_than_all_runs_at_once():
    """Sums over all pairs of cells of the noise of two runs, in which nothing changes."""
    weight, middle, _ = cells()
    first, second = np.array(list(itertools.product(range(len(weight)), repeat=RUNS))).T
    u, weight = np.stack([middle[first], middle[second]]), weight[first] * weight[second]
    local, joint = (by_hand(*pairs(u), together) for together in (False, True))

    probability = np.prod(np.where(states(3) > 0, P, 1 - P), -1)
    i, j = np.array(list(itertools.product(range(8), repeat=RUNS))).T
    bound = negative_bound(np.stack([f(states(3)[i]), f(states(3)[j])]))
    score = states(3)[i] + states(3)[j] - 2 * P
    true = (probability[i] * probability[j] * bound) @ score

    np.testing.assert_allclose(weight @ local, true, rtol=1e-12)
    np.testing.assert_allclose(weight @ joint, true, rtol=1e-12)
    variance, of_all = (weight @ g**2 - true**2 for g in (local, joint))
    assert (variance < 0.7 * of_all).all()


def assert_mean(loss, params, exact):
    draws = fsb.sample_gradients(fsb.iw_disarm(RUNS), loss, params, KEY, 2**15)
    largest = max(float(jnp.abs(true).max()) for true in exact.values())
    for name, true in exact.items():
        d = np.asarray(draws[name], float).ravel()
        error = d.std() / np.sqrt(len(d))
        assert abs(d.mean() - float(true.squeeze())) < 4.5 * error, name
        assert error < 0.01 * largest


@pytest.mark.slow
def test_two_layers():
    """And of what the loss depends on directly; 1 + L evaluations in each run."""
    assert_mean(two_layers, TWO, jax.grad(expected_loss)(TWO, RUNS))
    assert evaluations(fsb.iw_disarm(RUNS), two_layers, TWO, KEY) == RUNS * 3


def turns(params, sample, name="z"):
    def turn(h, x, sample):
        z = sample(name, fsb.Bernoulli(-1.0, 1.0), params["a"] + x + 0.7 * h[:, None])
        return jnp.sin(h + x) + params["w"][0, 0] * z[:, 0] * h, None

    return fsb.scan(turn, sample, jnp.ones(1), jnp.float32([0.3, -0.4]))[0] ** 2


@pytest.mark.slow
def test_the_turns_of_a_scan():
    """Against enumeration of a model that holds all runs."""
    params = {"a": jnp.float32([[0.4]]), "w": jnp.float32([[1.2]])}

    def together(params, sample):
        losses = jnp.stack([turns(params, sample, f"z{i}") for i in range(RUNS)])
        return -jnp.log(jnp.exp(-losses).mean(0))

    assert_mean(turns, params, fsb.exact_gradient(together, params))


@pytest.mark.slow
def test_the_layers_below_are_redrawn_with_the_noise_of_their_run():
    """So a unit that nothing depends on has no signal."""

    def loss(eta, sample):
        z = sample("z", fsb.Bernoulli(), eta)
        return 5 * sample("y", fsb.Bernoulli(), 0 * z).sum(-1)

    grads = jax.jit(fsb.value_and_grad(fsb.iw_disarm(3), loss))(jnp.zeros((20, 2)), KEY)[1]
    np.testing.assert_array_equal(grads, 0)


def certain(params, sample):
    """A scan, a site shared by all, and units at infinite logits."""

    def turn(h, x, sample):
        z = sample("z", fsb.Bernoulli(-1.0, 1.0), params["a"] + x)
        return h + z[:, 0] * jnp.sin(h + z[:, 1]), None

    dtype = params["w"].dtype
    h = fsb.scan(turn, sample, jnp.ones(3, dtype), jnp.array([0.3, -0.2], dtype))[0]
    return h + (sample("y", fsb.Bernoulli(), params["b"]) * params["w"]).sum(-1) ** 2


EDGES = {
    "a": jnp.float32([[1000, -1000], [jnp.inf, -jnp.inf], [0.3, -0.2]]),
    "b": jnp.float32([[0.1, 0.4]]),
    "w": jnp.float32([[3.0, 500.0]]),
}


@pytest.mark.slow
def test_of_one_run_it_is_disarm():
    """In scans and shared sites too."""
    both = jax.jit(
        lambda key: (
            fsb.value_and_grad(fsb.iw_disarm(1), certain)(EDGES, key),
            fsb.value_and_grad(fsb.disarm(), certain)(EDGES, jax.random.split(key, 1)[0]),
        )
    )
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    for key in jax.random.split(KEY, 4):
        jax.tree.map(close, *both(key))


@pytest.mark.slow
def test_edges():
    """Weights far beyond the largest float, certain units, three precisions, jit and vmap."""
    estimate = fsb.value_and_grad(fsb.iw_disarm(3), certain)
    keys = jax.random.split(KEY, 3)
    value, grads = jax.jit(jax.vmap(estimate, (None, 0)))(EDGES, keys)
    assert np.isfinite(value).all()
    assert all(np.isfinite(g).all() for g in grads.values())
    np.testing.assert_array_equal(grads["a"][:, :2], 0)
    assert all(np.abs(g).max() > 0 for g in grads.values())
    for dtype in ("bfloat16", "float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            cast = jax.tree.map(lambda x: jnp.asarray(x, dtype), EDGES)  # noqa: B023
            shapes = jax.eval_shape(estimate, cast, KEY)
            assert {str(x.dtype) for x in jax.tree.leaves(shapes)} == {dtype}


def test_refusals():
    with pytest.raises(fsb.FsbError, match="iw_disarm: samples=0: it must be at least 1"):
        fsb.iw_disarm(0)
    loss = lambda eta, sample: sample("k", fsb.Categorical(), eta)[:, 0]
    with pytest.raises(fsb.FsbError, match="iw_disarm") as caught:
        fsb.value_and_grad(fsb.iw_disarm(), loss)(jnp.zeros((2, 3)), KEY)
    assert "\n" not in str(caught.value)
