"""Where the values of a family of one's own stand."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest

import fsb
from fsb import Binomial


@dataclass(frozen=True)
class Last(Binomial):
    """Its values stand in the last axis of [B, D..., K]."""

    def support(self, eta):
        return jnp.broadcast_to(super().support(eta), (*eta.shape, self.trials + 1))


@pytest.mark.slow
def test_binomial_units_by_enumeration():
    """E z1 z2^2 = n p (n q (1 - q) + n^2 q^2)."""
    loss = lambda eta, sample: (lambda z: z[:, 0] * z[:, 1] ** 2)(sample("z", Binomial(3), eta))
    eta = np.array([0.4, -0.7])
    p, q = 1 / (1 + np.exp(-eta))
    found = fsb.exact_gradient(loss, jnp.float32(eta)[None])[0]
    first = 3 * p * (1 - p) * (3 * q * (1 - q) + 9 * q**2)
    second = 3 * p * q * (1 - q) * (3 - 6 * q + 18 * q)
    np.testing.assert_allclose(found, [first, second], rtol=1e-4)


def test_values_in_the_last_axis_are_refused():
    loss = lambda eta, sample: sample("z", Last(3), eta).sum(-1)
    with pytest.raises(fsb.FsbError) as caught:
        fsb.exact_gradient(loss, jnp.zeros((2, 3)))
    assert str(caught.value) == (
        "site 'z': Last.support must return the values along the first axis, [K]; got (2, 3, 4)"
    )


@pytest.mark.slow
def test_counts_by_the_score_function(key):
    """Of E z^2 for a geometric and a binomial unit."""
    for dist, second in (
        (fsb.Geometric(), lambda p: ((1 - p) * (2 - p)) / p**2),
        (Binomial(5), lambda p: 5 * p * (1 - p) + 25 * p**2),
    ):
        loss = lambda eta, sample, d=dist: sample("z", d, eta)[:, 0] ** 2
        draws = fsb.sample_gradients(fsb.reinforce(), loss, jnp.full((1, 1), 0.5), key, 100_000)
        draws = np.asarray(draws, np.float64)
        p = 1 / (1 + np.exp(-0.5))
        true = (second(p + 1e-5) - second(p - 1e-5)) / 2e-5 * p * (1 - p)
        assert abs(draws.mean() - true) < 4 * draws.std() / np.sqrt(draws.size)
