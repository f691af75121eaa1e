"""Latent layers beside Tucker's: categorical units, and the autoregressive prior of fDARN."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp
from small import SHAPE, example, shaken, start

from fsb.networks import BernoulliLikelihood, vae
from fsb.objectives import elbo, importance_weighted_bound, log_weight
from fsb.sites import ancestral, collect_sites, replay

from by_hand import log_bernoulli, mlp  # isort: skip


def evidence_at(model, variables, x, sampler):
    return collect_sites(lambda sample: model.apply(variables, x, sample), sampler)[0]


def double(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


CATEGORICAL = vae(
    SHAPE, BernoulliLikelihood(), layers=2, width=2, values=3, hidden=1, hidden_width=4
)
FDARN = vae(
    SHAPE, BernoulliLikelihood(), layers=1, width=4, hidden=0, low=0.0, prior="autoregressive"
)


def categorical_terms(params, mean, x, one_hots):
    """log p(x|z_1), log p(z_1|z_2), log p(z_2), log q(z_1|x), log q(z_2|z_1) at pairs of states."""
    flat = one_hots.reshape(len(one_hots), -1)

    def log_prob(logits, z):
        """[states of logits, states of z]."""
        table = log_softmax(logits.reshape(-1, 2, 3), -1)
        return np.einsum("alk,blk->ab", table, z)

    offset = np.log(mean.ravel() / (1 - mean.ravel()))
    pixels = mlp(params["down_0"], flat) + offset
    return (
        log_bernoulli(pixels, x.ravel()[None] > 0.5),
        log_prob(mlp(params["down_1"], flat), one_hots),
        log_prob(params["prior"]["logits"][None], one_hots)[0],
        log_prob(mlp(params["up_0"], (x - mean).reshape(1, -1)), one_hots)[0],
        log_prob(mlp(params["up_1"], flat), one_hots),
    )


@pytest.mark.slow
def test_categorical_layers_against_their_enumeration(key):
    variables, x = shaken(start(CATEGORICAL)), example(CATEGORICAL.likelihood)
    states = np.array(list(itertools.product(range(3), repeat=2)))
    one_hots = np.eye(3)[states]
    plain = double(variables)
    likelihood, p1, p2, q1, q2 = categorical_terms(
        plain["params"], plain["constants"]["mean"], np.float64(x), one_hots
    )
    pairs = np.array(list(itertools.product(range(9), repeat=2)))
    values = {"z1": jnp.float32(one_hots[pairs[:, 0]]), "z2": jnp.float32(one_hots[pairs[:, 1]])}
    many = jnp.broadcast_to(x[None], (81, *x.shape))
    found = evidence_at(CATEGORICAL, variables, many, replay(values))
    one, two = pairs.T
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)
    close(found.likelihood, likelihood[one])
    close(found.prior[0], p1[two, one])
    close(found.prior[1], p2[two])
    close(found.posterior[0], q1[one])
    close(found.posterior[1], q2[one, two])
    close(found.entropy[0], np.full(81, -(np.exp(q1) * q1).sum()))
    close(found.entropy[1], -(np.exp(q2) * q2).sum(1)[one])
    joint = likelihood[one] + p1[two, one] + p2[two]
    q = q1[one] + q2[one, two]
    exact_elbo, log_p = np.exp(q) @ (joint - q), logsumexp(joint)
    assert exact_elbo < log_p
    weight = np.exp(q)
    close(weight @ -np.float64(elbo()(found)), exact_elbo)
    close(np.log(weight @ np.exp(np.float64(log_weight(found)))), log_p)
    many = jnp.broadcast_to(x[None], (4000, *x.shape))
    weights = lambda key: log_weight(evidence_at(CATEGORICAL, variables, many, ancestral(key)))
    means = []
    for count in (1, 20):
        bounds = np.asarray(jax.jit(lambda k: importance_weighted_bound(weights, k, count))(key))  # noqa: B023
        means.append(bounds.mean())
        assert means[-1] < log_p + 4 * bounds.std() / np.sqrt(4000)
    assert means[0] + 0.02 < means[1]


@pytest.mark.slow
def test_generated_categorical_means(key):
    variables = shaken(start(CATEGORICAL))
    plain = double(variables)
    one_hots = np.eye(3)[np.array(list(itertools.product(range(3), repeat=2)))]
    mean = plain["constants"]["mean"]
    _, p1, p2, _, _ = categorical_terms(plain["params"], mean, np.zeros(SHAPE), one_hots)
    marginal = np.exp(p2) @ np.exp(p1)
    pixels = mlp(plain["params"]["down_0"], one_hots.reshape(9, -1))
    expected = marginal @ (1 / (1 + np.exp(-pixels - np.log(mean / (1 - mean)).ravel())))
    generate = jax.jit(lambda v, k: CATEGORICAL.apply(v, k, 20_000, method="generate"))
    found = np.asarray(generate(variables, key), np.float64).reshape(20_000, -1)
    assert (abs(found.mean(0) - expected) < 4.5 * found.std(0) / np.sqrt(20_000) + 1e-6).all()


def autoregressive_log_probs(params, bits):
    """log p(z) of every z, unit by unit, in NumPy."""
    total = np.zeros(len(bits))
    for i in range(bits.shape[1]):
        logit = params["bias"][i] + bits[:, :i] @ params["kernel"][:i, i]
        total += np.where(bits[:, i], -np.logaddexp(0, -logit), -np.logaddexp(0, logit))
    return total


@pytest.mark.slow
def test_fdarn_is_a_distribution_and_its_draws_follow_it(key):
    variables = shaken(start(FDARN), 1.0)
    bits = np.array(list(itertools.product((0, 1), repeat=4)))
    expected = autoregressive_log_probs(double(variables["params"]["prior"]), bits)
    assert np.exp(expected).sum() == pytest.approx(1)
    many = jnp.zeros((16, *SHAPE))
    found = evidence_at(FDARN, variables, many, replay({"z1": jnp.float32(bits)}))
    np.testing.assert_allclose(found.prior[0], expected, rtol=1e-4, atol=1e-5)
    count = 100_000
    draw = jax.jit(lambda v, k: FDARN.bind(v).prior.sample(k, FDARN.latent, count))
    index = np.asarray(draw(variables, key)) @ [8, 4, 2, 1]
    frequency = np.bincount(index.astype(int), minlength=16) / count
    p = np.exp(expected)
    assert (abs(frequency - p) < 4.5 * np.sqrt(p * (1 - p) / count) + 1e-9).all()


@pytest.mark.slow
def test_fdarn_elbo_against_its_enumeration():
    variables, x = shaken(start(FDARN)), example(FDARN.likelihood)
    bits = jnp.float32(list(itertools.product((0, 1), repeat=4)))
    found = evidence_at(
        FDARN, variables, jnp.broadcast_to(x[None], (16, *SHAPE)), replay({"z1": bits})
    )
    weight = np.exp(np.float64(found.posterior[0]))
    assert weight.sum() == pytest.approx(1, rel=1e-5)
    exact_elbo = weight @ -np.float64(elbo()(found))
    joint = np.float64(found.likelihood) + np.float64(found.prior[0])
    assert weight @ np.float64(log_weight(found)) == pytest.approx(exact_elbo, abs=1e-4)
    assert exact_elbo < logsumexp(joint)
