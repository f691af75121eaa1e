"""ARMS of multi-sample bounds: draw by draw, its mean by enumeration, and its edges."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_coupled import ETA, KEY, P, f, layer, states

import fsb
from fsb.diagnostics import evaluations
from fsb.sites import site_key

RUNS = 3


def negative_bound(losses):
    return -np.log(np.exp(-losses).mean(0))


def by_hand(b, coupled):
    """The estimate [N, 3] for runs and coupled draws [n, N, 3], from the formula."""
    n, losses, of_coupled = len(b), f(b), f(coupled)
    rarer = np.minimum(P, 1 - P)
    both = rarer * np.maximum(0, 2 - rarer ** (-1 / (n - 1))) ** (n - 1)
    total = 0
    for k in range(n):
        others = np.delete(losses, k, 0)
        bounds = np.stack([negative_bound(np.r_[others, [own]]) for own in of_coupled])
        signal = bounds - bounds.mean(0)
        total = total + (signal[..., None] * (coupled - P)).sum(0) / (n - 1)
    return total * P * (1 - P) / (rarer - both)


def couple(u, v):
    """n coupled numbers from u [N, 3] and n - 1 more, v."""
    n, rest = len(v) + 1, -np.log(v)
    left = np.where(P >= 0.5, 1 - u, u) ** (1 / (n - 1))
    others = (1 - left * rest / rest.sum(0)) ** (n - 1)
    return np.r_[[u], np.where(P >= 0.5, 1 - others, others)]


@pytest.mark.slow
def test_draw_by_draw():
    number = 2**10
    params = {"eta": jnp.float32(np.tile(ETA, (number, 1))), "probe": jnp.zeros((number, 3))}
    grads = jax.jit(fsb.value_and_grad(fsb.iw_arms(RUNS), layer))(params, KEY)[1]["eta"]

    uniform = lambda key, *shape: np.float64(jax.random.uniform(key, (*shape, number, 3)))
    runs, own = jax.random.split(KEY, 2)
    u = np.stack([uniform(site_key(key, "b")) for key in jax.random.split(runs, RUNS)])
    of_site = site_key(own, "b")
    more = uniform(jax.random.fold_in(of_site, RUNS), RUNS - 1)
    coupled = couple(uniform(of_site), more + 0.5 * np.finfo(np.float32).eps)

    expected = by_hand((u < P) * 1.0, (coupled < P) * 1.0)
    wrong = np.abs(number * grads - expected).max(-1) > 1e-4
    assert wrong.mean() < 0.003  # rounding may move a coupled number across p


@pytest.mark.slow
def test_unbiased_for_the_bound_with_less_variance_than_vimco_and_more_than_disarm():
    """The true gradient by all states of all runs; pairs need as many evaluations, VIMCO half."""
    params = {"eta": jnp.float32(ETA[None]), "probe": jnp.zeros((1, 3))}
    coupled, pairs, vimco = (
        fsb.sample_gradients(estimator, layer, params, KEY, 2**16)["eta"][:, 0]
        for estimator in (fsb.iw_arms(RUNS), fsb.iw_disarm(RUNS), fsb.vimco(RUNS))
    )
    probability = np.prod(np.where(states(3) > 0, P, 1 - P), -1)
    chosen = np.array(list(itertools.product(range(8), repeat=RUNS))).T
    b = states(3)[chosen]
    true = (probability[chosen].prod(0) * negative_bound(f(b))) @ (b - P).sum(0)
    error = coupled.std(0) / np.sqrt(len(coupled))
    assert (np.abs(coupled.mean(0) - true) < 4.5 * error).all()
    assert (error < 0.02 * np.abs(true).max()).all()
    assert pairs.var(0).sum() < 0.9 * coupled.var(0).sum() < 0.9 * 0.95 * vimco.var(0).sum()
    assert evaluations(fsb.iw_arms(RUNS), layer, params, KEY) == 2 * RUNS


def certain(params, sample):
    b = sample("b", fsb.Bernoulli(-1.0, 1.0), params["a"])
    return 300 * jnp.sin(b.sum(-1)) + (b * params["w"]).sum(-1) ** 2


EDGES = {"a": jnp.float32([[1000, -1000], [jnp.inf, -jnp.inf], [0.3, -0.2]]),
         "w": jnp.float32([[3.0, 5.0]])}  # fmt: skip


@pytest.mark.slow
def test_edges():
    """Weights far beyond the largest float, certain units, three precisions, jit and vmap."""
    estimate = fsb.value_and_grad(fsb.iw_arms(3), certain)
    value, grads = jax.jit(jax.vmap(estimate, (None, 0)))(EDGES, jax.random.split(KEY, 3))
    assert np.isfinite(value).all()
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in grads.values())
    np.testing.assert_array_equal(grads["a"][:, :2], 0)
    for dtype in ("bfloat16", "float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            cast = jax.tree.map(lambda x: jnp.asarray(x, dtype), EDGES)  # noqa: B023
            shapes = jax.eval_shape(estimate, cast, KEY)
            assert {str(x.dtype) for x in jax.tree.leaves(shapes)} == {dtype}


@pytest.mark.slow
def test_a_site_that_all_examples_share():
    """The gradient is that of the sum over the examples, by all states of both runs."""
    eta, values = jnp.float32([[0.4]]), np.array([0.3, -1.1])

    def loss(eta, sample):
        return jnp.sin(jnp.float32(values) + 2 * sample("b", fsb.Bernoulli(), eta)[:, 0])

    draws = fsb.sample_gradients(fsb.iw_arms(2), loss, eta, KEY, 2**15).ravel()
    p = 1 / (1 + np.exp(-0.4))
    true = 0
    for b in itertools.product((0, 1), repeat=2):
        bound = negative_bound(np.sin(values + 2 * np.array(b)[:, None])).mean()
        true += np.prod([p if x else 1 - p for x in b]) * bound * (sum(b) - 2 * p)
    assert abs(draws.mean() - true) < 4.5 * draws.std() / np.sqrt(len(draws))


def two_sites(eta, sample):
    return sample("b", fsb.Bernoulli(), eta + sample("a", fsb.Bernoulli(), eta)).sum(-1)


def scanned(eta, sample):
    turn = lambda h, x, sample: (h + sample("b", fsb.Bernoulli(), eta)[:, 0] * x, None)
    return fsb.scan(turn, sample, jnp.zeros(2), jnp.ones(3))[0]


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (two_sites, r"iw_arms: the loss samples 2 sites \('a', 'b'\): it serves one; iw_disarm"),
        (scanned, r"iw_arms does not support sites in scans; use iw_disarm\(n\)"),
        (lambda eta, sample: sample("k", fsb.Categorical(), eta)[:, 0], "iw_arms"),
    ],
)
def test_refusals(loss, message):
    with pytest.raises(fsb.FsbError, match=message) as caught:
        fsb.value_and_grad(fsb.iw_arms(), loss)(jnp.zeros((2, 3)), KEY)
    assert "\n" not in str(caught.value)
    with pytest.raises(fsb.FsbError, match="iw_arms: samples=1: it must be at least 2"):
        fsb.iw_arms(1)
