"""Every part of FouST can be switched off alone; what is left is another estimator's draws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_figures_of_the_lost_jacobian():
    """Means in p of an odd polynomial that was fitted to four of the figures, and of an even term.

    At a = 1: true -0.666, reweighed -0.386, to the letter of the paper -0.193; at a = 1/2: true
    -0.522, reweighed -0.389 either way. The function behind them is not on record.
    """
    powers = np.arange(1, 8, 2)
    values = [x**powers for x in (1.0, 0.5)]
    slopes = [powers * x ** (powers - 1) for x in (1.0, 0.5)]
    coefficients = np.zeros(8)
    coefficients[powers] = np.linalg.solve(
        [*values, *slopes], [-0.666 / 2, -0.522 / 2, -0.386 / 2, -0.389]
    )
    coefficients[2] = 0.4
    polynomial = jnp.float32(coefficients[::-1])

    count, p = 64, 0.5
    eta = jnp.zeros((count, 1))
    for a, true, correct, paper in ((1.0, -0.666, -0.386, -0.193), (0.5, -0.522, -0.389, -0.389)):
        dist = fsb.Bernoulli(-a, a)
        loss = lambda eta, sample, d=dist: jnp.polyval(polynomial, sample("z", d, eta)[:, 0])
        per_p = count / (p * (1 - p))
        np.testing.assert_allclose(per_p * fsb.exact_gradient(loss, eta), true, rtol=1e-5)
        for mode, mean in (("correct", correct), ("paper", paper)):
            estimate = fsb.value_and_grad(fsb.foust(0.0, scale_mode=mode), loss)
            found = np.unique(np.round(per_p * estimate(eta, jax.random.key(0))[1], 4))
            assert len(found) == 2  # one for either value, equally likely
            np.testing.assert_allclose(found.mean(), mean, atol=2e-4)
