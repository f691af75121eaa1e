"""Evidence bounds, term by term. The network's own sums are in networks/test_vae.py."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

import fsb
from fsb.data.preprocess import dequantised
from fsb.errors import FsbError
from fsb.networks import BernoulliLikelihood, vae
from fsb.objectives import (
    bits_per_dimension,
    elbo,
    importance_weighted_bound,
    kl_per_layer,
    log_weight,
    sampled_elbo,
)
from fsb.sites import ancestral, bind, collect_sites, replay
from fsb.types import Evidence

TERMS = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
LIKELIHOOD, P1, P2, H1, H2, Q1, Q2 = TERMS
EVIDENCE = jax.tree.map(
    jnp.asarray,
    Evidence(LIKELIHOOD, (P1, P2), (H1, H2), (Q1, Q2), np.zeros((4, 3), np.float32)),
)


def test_the_terms_of_each_objective():
    np.testing.assert_allclose(elbo()(EVIDENCE), -(LIKELIHOOD + P1 + P2 + H1 + H2), rtol=1e-5)
    np.testing.assert_array_equal(sampled_elbo()(EVIDENCE), -log_weight(EVIDENCE))
    one, two = kl_per_layer(EVIDENCE)
    np.testing.assert_allclose(one, -P1 - H1)
    np.testing.assert_allclose(two, -P2 - H2)
    np.testing.assert_allclose(log_weight(EVIDENCE), LIKELIHOOD + P1 + P2 - Q1 - Q2, rtol=1e-5)


def test_warm_up_and_free_bits():
    k1, k2 = (np.float64(kl) for kl in kl_per_layer(EVIDENCE))
    assert (k1 < 0.4).any() and (k1 > 0.4).any()  # noqa: PT018
    for step, weight in ((0, 0.0), (3, 0.3), (10, 1.0), (11, 1.0)):
        found = elbo(warmup_steps=10)(EVIDENCE, jnp.int32(step))
        np.testing.assert_allclose(found, -LIKELIHOOD + weight * (k1 + k2), rtol=1e-5, atol=1e-6)
        found = elbo(10, free_bits=0.4)(EVIDENCE, jnp.int32(step))
        kl = np.maximum(k1, 0.4) + np.maximum(k2, 0.4)
        np.testing.assert_allclose(found, -LIKELIHOOD + weight * kl, rtol=1e-5, atol=1e-6)
    with pytest.raises(FsbError, match="at least 0"):
        elbo(free_bits=-1.0)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "chunk_size"), [(1, 10), (7, 3), (12, 100)])
def test_the_bound_is_the_log_of_the_mean_weight(count, chunk_size, key):
    weights = lambda key: 300 * jax.random.normal(key, (5,))  # exp alone would overflow
    found = importance_weighted_bound(weights, key, count, chunk_size)
    each = np.stack([np.float64(weights(k)) for k in jax.random.split(key, count)])
    np.testing.assert_allclose(found, logsumexp(each, 0) - np.log(count), rtol=1e-5)


@pytest.mark.slow
def test_one_layer_with_a_uniform_prior_has_the_analytic_kl(key):
    """KL(q || uniform) = n log 2 - H(q), and nothing of it is left to chance."""
    model = vae((2, 2), BernoulliLikelihood(), layers=1, width=3, hidden=1, prior="uniform")
    x = jnp.float32([[[0, 1], [1, 1]]])
    variables = jax.jit(lambda k: model.init(k, x, lambda name, dist, eta: dist.mean(eta)))(key)
    evidence, (site,) = jax.jit(
        lambda key: collect_sites(lambda sample: model.apply(variables, x, sample), ancestral(key))
    )(key)
    p = 1 / (1 + np.exp(-np.float64(site.eta)))
    analytic = (p * np.log(2 * p) + (1 - p) * np.log(2 * (1 - p))).sum(-1)
    assert analytic > 0.1
    np.testing.assert_allclose(kl_per_layer(evidence)[0], analytic, rtol=1e-4)


def noisy_run(delta, key):
    """The losses of FouST on a small net, its sites, and the evidence at given values."""
    model = vae((2, 2), BernoulliLikelihood(), layers=2, width=3, hidden=1)
    x = jnp.float32([[[0, 1], [1, 1]]] * 4)
    variables = jax.jit(lambda k: model.init(k, x, lambda name, dist, eta: dist.mean(eta)))(key)
    run = bind(lambda params, sample: elbo()(model.apply(variables, x, sample)), None)

    @jax.jit
    def spied(key):
        seen = []

        def watched(sampler):
            losses, sites = run(sampler)
            seen.extend(sites)
            return losses, sites

        return fsb.foust(delta).surrogate(watched, (), (), key)[0], seen

    @jax.jit
    def at(values):
        return collect_sites(lambda sample: model.apply(variables, x, sample), replay(values))[0]

    return *spied(key), at


@pytest.mark.slow
def test_without_noise_the_cross_entropies_are_the_hard_ones(key):
    losses, sites, at = noisy_run(0.0, key)
    hard = at({site.name: site.hard for site in sites})
    np.testing.assert_allclose(losses, elbo()(hard), rtol=1e-6)


@pytest.mark.slow
def test_with_noise_they_are_linear_in_the_value(key):
    losses, sites, at = noisy_run(0.3, key)
    noisy = at({site.name: site.z for site in sites})
    np.testing.assert_allclose(losses, elbo()(noisy), rtol=1e-6)
    assert all(0 < abs(site.z - site.hard).max() <= 0.3 for site in sites)
    eta, z = (np.float64(site) for site in (sites[1].eta, sites[1].z))
    b = (z + 1) / 2
    p = 1 / (1 + np.exp(-eta))
    cross = (b * np.log(p) + (1 - b) * np.log(1 - p)).sum(-1)
    np.testing.assert_allclose(noisy.posterior[1], cross, rtol=1e-4)


@pytest.mark.slow
def test_bits_per_dimension():
    assert bits_per_dimension(-10 * np.log(2), 5, 0.0) == pytest.approx(2)
    offset = dequantised().bits_offset
    # 256 grey levels, each as likely: the density of x in [-1/2, 1/2) is 1, and it takes 8 bits.
    assert bits_per_dimension(0.0, 3072, offset) == 8
    grey = jnp.arange(256, dtype=jnp.uint8)[None]
    x = np.asarray(dequantised().apply(jax.random.key(0), grey))[0]
    assert (np.diff(x) > 0).all()
    assert x[-1] - x[0] == pytest.approx(1, abs=1 / 128)
