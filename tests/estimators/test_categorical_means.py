"""Local estimators of categorical units against their formulas: draw by draw, and on average."""

from __future__ import annotations

import categorical_oracle as c
import jax
import jax.numpy as jnp
import numpy as np
import oracle as o
import pytest
from contract import ROWS, estimate, named
from scipy.stats import kstest, logistic
from test_means import pick

import fsb
from fsb.sites import ancestral, bind

ONE_LAYER = (c.Layers((3,)), c.Layers((5,)))
NETS = (*ONE_LAYER, c.Layers((3, 5)))
PARAMS = [net.parameters(seed=i) for i, net in enumerate(NETS)]
CATEGORICAL = [row for row in ROWS if row.categorical]
KEY = jax.random.key(3)


def loss(params, sample):
    """All networks side by side."""
    nets = enumerate(zip(NETS, params, strict=True))
    return sum(net.loss(p, sample, f"{i}-") for i, (net, p) in nets)


@pytest.mark.slow
@pytest.mark.parametrize("row", **named(CATEGORICAL, slow_repeats=True))
def test_every_draw_follows_the_formula(row):
    """And hard ones are those of the plain run: the mean is that over values by probability."""

    def both(key):
        params = jax.tree.map(jnp.asarray, PARAMS)
        plain = [site.z for site in bind(loss, params)(ancestral(key))[1]]
        return plain, estimate(row.make(), loss)(params, key)[1]

    plain, draws = jax.jit(jax.vmap(both))(jax.random.split(KEY, 64))
    draws = jax.tree.map(lambda x: c.ROWS * np.asarray(x), draws)  # undoes the mean over the batch
    if row.forward == "hard":
        values = [z for net in draws for z in net["probe"]]
        jax.tree.map(np.testing.assert_array_equal, values, plain)
    for params, got in zip(PARAMS, draws, strict=True):
        for k, name in enumerate(o.LOSSES) if not row.categorical.is_mean else ():
            net, of_loss = pick(params, k), pick(got, (slice(None), k))
            expected = c.backward(net, name, of_loss["probe"], row.categorical.jacobian)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
                of_loss,
                expected,
            )


@pytest.mark.slow
@pytest.mark.parametrize("row", **named([row for row in CATEGORICAL if row.categorical.is_mean]))
def test_mean_of_the_noisy_ones(row):
    projection, square = 0.0, 0.0
    draws = fsb.sample_gradients(row.make(), loss, PARAMS, KEY, row.draws_needed // 8, 512)
    for params, got_all in zip(PARAMS, draws, strict=True):
        for k, name in enumerate(o.LOSSES):
            expected = row.categorical.mean(pick(params, k), name)
            got = jax.tree.map(lambda x: c.ROWS * x, pick(got_all, (slice(None), k)))
            for part in ("offset", "weight", "c", "probe"):
                for g, e in zip(*map(jax.tree.leaves, (got[part], expected[part])), strict=True):
                    error = np.abs(g.mean(0) - e)
                    tolerance = 5 * g.std(0) / np.sqrt(len(g)) + 2e-3 * np.abs(e).max() + 1e-5
                    assert (error <= tolerance).all(), (name, part, error / tolerance)
                    if part in ("offset", "weight"):
                        projection = projection + np.tensordot(g, e, e.ndim)
                        square += (e * e).sum()
    relative = projection / square
    standard_error = relative.std() / np.sqrt(len(relative))
    assert 7 * standard_error < 0.05
    assert abs(relative.mean() - 1) < 4 * standard_error + 2e-3


@pytest.mark.slow
def test_relaxed_values_have_the_law_of_the_paper():
    """tau (log v_i - log v_j) is logistic around eta_i - eta_j, and the greatest is the draw."""
    temperature, eta, number = 0.7, np.float32([0.5, -1.0, 0.2]), 4000
    estimator = fsb.gumbel_softmax(temperature)

    def simple(params, sample):
        z = sample("z", fsb.Categorical(), params["eta"])
        return (params["probe"] * jax.lax.stop_gradient(z)).sum(-1)

    batch = np.broadcast_to(eta, (number, 3))
    params = {"eta": jax.numpy.asarray(batch), "probe": jax.numpy.zeros((number, 3))}
    v = number * np.asarray(fsb.value_and_grad(estimator, simple)(params, KEY)[1]["probe"], float)
    for i, j in ((0, 1), (1, 2)):
        noise = temperature * np.log(v[:, i] / v[:, j]) - (eta[i] - eta[j])
        assert kstest(noise, logistic.cdf).pvalue > 1e-3
    wins = (v == v.max(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(wins, c.softmax(eta), atol=4 * 0.5 / np.sqrt(number))


@pytest.mark.slow
@pytest.mark.parametrize("row", **named([r for r in CATEGORICAL if r.categorical.weights]))
def test_predicted_mean_is_the_true_gradient_where_the_row_says_so(row):
    """Of one layer of K = 3 or 5 values; and nowhere else, so that no row claims too little."""
    if row.categorical.is_mean:
        assert not row.categorical.exact_for  # at the temperatures of the rows
    for params in PARAMS[: len(ONE_LAYER)]:
        for k, name in enumerate(o.LOSSES):
            net = pick(params, k)
            mean = row.categorical.mean(net, name)["offset"][0]
            close = np.allclose(mean, c.true_gradient(net, name), rtol=1e-6, atol=1e-12)
            assert close == (name in row.categorical.exact_for), name
