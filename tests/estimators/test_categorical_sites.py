"""Estimators that serve Categorical sites, on two layers of three and five values."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import oracle as o
import pytest
from contract import ROWS, estimate, named

import fsb

RNG = np.random.default_rng(5)
ROWS_OF_LOSS = len(o.LOSSES)
VALUES = [np.float32(RNG.uniform(-1, 1, (units, k))) for units, k in ((2, 3), (2, 5))]
PARAMS = jax.tree.map(
    jnp.float32,
    {
        "offset": RNG.normal(size=(ROWS_OF_LOSS, 2, 3)),
        "weight": RNG.normal(size=(ROWS_OF_LOSS, 6, 10)),
        "c": RNG.uniform(0.5, 1.5, (ROWS_OF_LOSS, 2)),
    },
)
UNBIASED = [
    row for row in ROWS if "Categorical" in row.serves and not row.draws and row.forward != "exact"
]


def loss(params, sample):
    """The six losses of the oracle, one a row, of each unit's own value; and a coupling."""
    z = sample("z0", fsb.Categorical(), params["offset"])
    eta = jnp.einsum("bi,bij->bj", z.reshape(ROWS_OF_LOSS, 6), params["weight"])
    y = sample("z1", fsb.Categorical(), eta.reshape(ROWS_OF_LOSS, 2, 5))
    x, top = ((one_hot * v).sum(-1) for one_hot, v in ((z, VALUES[0][None]), (y, VALUES[1][None])))
    features = [f(jnp, top[row]) for row, (f, _) in enumerate(o.LOSSES.values())]
    return (params["c"] * jnp.stack(features)).sum(-1) + o.COUPLING * x.sum(-1) * top.sum(-1)


@pytest.fixture(scope="module")
def exact():
    return fsb.exact_gradient(loss, PARAMS)


@pytest.mark.slow
@pytest.mark.parametrize("row", **named(UNBIASED, slow_repeats=True, slow_but_few=True))
def test_unbiased_on_two_layers(row, exact):
    number = min(row.draws_needed // 4, 2**15)
    draws = fsb.sample_gradients(row.make(), loss, PARAMS, jax.random.key(2), number, 512)
    projection, square = 0.0, 0.0
    for name, e in exact.items():
        e, g = np.asarray(e, float), np.asarray(draws[name], float)
        error = np.abs(g.mean(0) - e)
        assert (error <= 5 * g.std(0) / np.sqrt(len(g)) + 1e-5).all(), name
        if name != "c":
            projection = projection + np.tensordot(g, e, e.ndim)
            square += (e * e).sum()
    relative = projection / square
    standard_error = relative.std() / np.sqrt(len(relative))
    assert 7 * standard_error < 0.05
    assert abs(relative.mean() - 1) < 4 * standard_error + 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "row",
    **named(
        [row for row in ROWS if "Categorical" in row.serves],
        slow_repeats=True,
        slow_but_few=True,
    ),
)
def test_certain_units(row):
    """Finite, and no gradient where a unit is certain (but for the identity's)."""
    ends = jnp.float32([[1000, 0, -1000], [np.inf, 0, -np.inf], [0, 3e38, -3e38]])
    params = dict(PARAMS, offset=PARAMS["offset"].at[:3].set(ends[:, None]))
    value, grads = jax.jit(estimate(row.make(), loss))(params, jax.random.key(0))
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    if row.name != "deterministic_st-identity":
        np.testing.assert_array_equal(grads["offset"][:3], 0)
    assert (np.abs(grads["offset"][3:]).max((1, 2)) > 0).any()
