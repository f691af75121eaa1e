"""Every part of FouST can be switched off alone; what is left is another estimator's draws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import fsb

DIST = fsb.Bernoulli(-0.3, 0.3)
PAIRS = (
    (fsb.foust(0.0), fsb.darn(), 1.0),
    (fsb.foust(0.0, importance_reweighing=False), fsb.st(), 1.0),
    (fsb.foust(0.3, gamma=0.8), fsb.foust(0.3), 0.8),
    (fsb.foust(0.3, 0.8, importance_reweighing=False), fsb.foust(0.3, 1.0, False), 0.8),
    (fsb.foust(0.0, 0.8, True, "paper"), fsb.darn(), 0.8 / 0.6),
    (fsb.foust(0.0, 0.8, False, "paper"), fsb.st(), 0.8 / 0.6),
)


def loss(eta, sample):
    return jnp.sin(1.7 * sample("z", DIST, eta) + 0.3).prod(-1)


def test_parts_off_one_by_one(key):
    eta, keys = jnp.array([[0.4, -1.0, 2.0]]), jax.random.split(key, 32)

    @jax.jit
    def all_draws():
        draw = lambda estimator: jax.vmap(lambda k: fsb.value_and_grad(estimator, loss)(eta, k)[1])
        return [(draw(one)(keys), draw(other)(keys)) for one, other, _ in PAIRS]

    draws = all_draws()
    for (one, other), (_, _, factor) in zip(draws, PAIRS, strict=True):
        np.testing.assert_allclose(one, factor * other, rtol=1e-5, atol=1e-8)
    assert (draws[0][0] != draws[1][0]).any()
