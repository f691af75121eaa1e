"""Enumeration with logits of plus and minus infinity; all estimators: test_categorical_sites.py."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

import fsb

INF = np.inf


def rows(eta, sample):
    z = sample("z", fsb.Categorical(), eta)
    return (z @ jnp.float32([1, -2, 4])).sum(-1) ** 2


def test_exact_at_infinite_logits():
    eta = jnp.float32([[[INF, 0, -INF], [0, 0.3, -INF]]])
    found = fsb.exact_gradient(rows, eta)[0]
    p = 1 / (1 + np.exp(0.3))
    np.testing.assert_array_equal(found[0], 0)
    slope = p * (1 - p) * ((1 + 1) ** 2 - (1 - 2) ** 2)
    np.testing.assert_allclose(found[1], [slope, -slope, 0], rtol=1e-5)
