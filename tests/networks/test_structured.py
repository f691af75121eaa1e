"""Structured prediction against its enumeration in NumPy."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logsumexp
from small import shaken, start

from fsb import FsbError
from fsb.networks import BernoulliLikelihood, structured
from fsb.networks.summary import summary
from fsb.objectives import elbo, importance_weighted_bound, log_weight
from fsb.sites import ancestral, collect_sites, replay

from by_hand import log_bernoulli, mlp  # isort: skip

SHAPE = (5, 3)  # two rows above, three below
MODEL = structured(SHAPE, BernoulliLikelihood(), layers=2, width=3, hidden=1, low=-1.0)
VARIABLES = shaken(start(MODEL, SHAPE))
X = np.float32(np.random.default_rng(2).integers(0, 2, SHAPE))
Z = 2.0 * np.array(list(itertools.product((0, 1), repeat=3))) - 1


def evidence(x, sampler):
    many = jnp.broadcast_to(jnp.asarray(X)[None], (x, *SHAPE))
    return collect_sites(lambda sample: MODEL.apply(VARIABLES, many, sample), sampler)[0]


def by_hand():
    """log p(z_1 | u) [8], log p(z_2 | z_1) [8, 8], log p(y | z_2) [8] and E[y | z_2] [8, 9]."""
    plain = jax.tree.map(lambda a: np.asarray(a, np.float64), VARIABLES)
    params, mean = plain["params"], plain["constants"]["mean"]
    bits = Z > 0
    first = mlp(params["steps_0"], (X - mean)[:2].reshape(1, -1))
    second = mlp(params["steps_1"], Z)
    offset = np.log(mean / (1 - mean))[2:].ravel()
    out = mlp(params["out"], Z) + offset
    return (
        log_bernoulli(first, bits),
        log_bernoulli(second[:, None], bits[None]),
        log_bernoulli(out, X[2:].ravel()[None] > 0.5),
        expit(out),
    )


def log_p():
    first, second, likelihood, _ = by_hand()
    return logsumexp(first[:, None] + second + likelihood[None])


@pytest.mark.slow
def test_every_term_at_every_state():
    _, _, likelihood, means = by_hand()
    one, two = np.array(list(itertools.product(range(8), repeat=2))).T
    found = evidence(64, replay({"z1": jnp.float32(Z[one]), "z2": jnp.float32(Z[two])}))
    np.testing.assert_allclose(found.likelihood, likelihood[two], rtol=1e-4)
    assert found.prior == found.entropy == found.posterior == ()
    np.testing.assert_array_equal(found.mean[:, :2], np.broadcast_to(X[:2], (64, 2, 3)))
    np.testing.assert_allclose(found.mean[:, 2:].reshape(64, 9), means[two], rtol=1e-4)
    np.testing.assert_array_equal(log_weight(found), found.likelihood)
    np.testing.assert_array_equal(elbo()(found), -found.likelihood)


@pytest.mark.slow
def test_bounds_rise_towards_log_p(key):
    first, second, likelihood, _ = by_hand()
    lower = (np.exp(first[:, None] + second) * likelihood[None]).sum()
    weights = lambda key: log_weight(evidence(4000, ancestral(key)))
    means, errors = [], []
    for count in (1, 4, 100):
        bounds = np.asarray(jax.jit(lambda k: importance_weighted_bound(weights, k, count))(key))  # noqa: B023
        means.append(bounds.mean())
        errors.append(bounds.std() / np.sqrt(4000))
    assert means[0] == pytest.approx(lower, abs=4 * errors[0])
    assert errors[0] < 0.01 * abs(lower)
    assert means[0] + 0.05 < means[1] < means[2] < log_p() + 4 * errors[2]
    assert means[2] == pytest.approx(log_p(), abs=0.02)


@pytest.mark.slow
def test_the_published_sizes():
    model = structured((28, 28), BernoulliLikelihood(), layers=3)
    layers = (392 + 1) * 200 + 2 * (200 + 1) * 200 + (200 + 1) * 392
    expected = f"{layers:,} parameters, 0 deterministic and 3 stochastic layers"
    assert summary(model, (28, 28)).startswith(expected)


def test_one_row_has_no_halves():
    with pytest.raises(FsbError, match="no two halves"):
        structured((1, 8), BernoulliLikelihood())
