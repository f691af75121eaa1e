"""Sites with logits of plus and minus infinity, and near the largest float, for every estimator."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from contract import ROWS, estimate, named

import fsb

INF, HUGE = np.inf, 3e38


def rows(eta, sample):
    z = sample("z", fsb.Categorical(), eta)
    return (z @ jnp.float32([1, -2, 4])).sum(-1) ** 2


SERVING = [
    row
    for row in ROWS
    if "Categorical" in row.serves and row.name != "deterministic_st-identity"  # never 0
]


@pytest.mark.slow
@pytest.mark.parametrize("row", **named(SERVING, True))
def test_certain_units(row, key):
    """A certain unit has no gradient, and its neighbour an ordinary one."""
    eta = jnp.float32([[[INF, 0, -INF], [0, 0.3, -INF]], [[0, HUGE, -HUGE], [0.1, -0.2, 0.4]]])
    value, grad = estimate(row.make(), rows)(eta, key)
    assert np.isfinite(grad).all()
    assert np.isfinite(value)
    np.testing.assert_array_equal(grad[:, 0], 0)
    np.testing.assert_allclose(grad[0, 1, 2], 0, atol=1e-6)


def test_exact_at_infinite_logits():
    eta = jnp.float32([[[INF, 0, -INF], [0, 0.3, -INF]]])
    found = fsb.exact_gradient(rows, eta)[0]
    p = 1 / (1 + np.exp(0.3))
    np.testing.assert_array_equal(found[0], 0)
    slope = p * (1 - p) * ((1 + 1) ** 2 - (1 - 2) ** 2)
    np.testing.assert_allclose(found[1], [slope, -slope, 0], rtol=1e-5)
