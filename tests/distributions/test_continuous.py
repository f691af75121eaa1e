"""Continuous units and counts, against SciPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import fsb
from fsb.distributions.gamma import _implicit
from fsb.networks.summary import stochastic_bits
from fsb.sites import Site

K, MU = np.array([0.05, 0.7, 3.0, 40.0]), np.array([2.0, 0.3, 1.0, 0.1])
A, B = np.array([0.2, 1.0, 3.0, 20.0]), np.array([0.5, 4.0, 3.0, 0.8])
LOC = np.array([-3.0, 0.0, 0.5, 20.0])
ALPHA = np.array([[0.3, 1.0, 4.0], [2.0, 2.0, 0.1]])
FACTOR = np.array([[0.7, 9, 9], [0.3, 0.5, 9], [-0.2, 0.4, 0.6]])
VECTOR = np.array([0.3, -0.2, 0.5])

RATES = np.array([0.1, 2, 11.0, 40])
ODDS = np.array([0.03, 0.3, 0.5, 0.95])

# dist, eta, SciPy's distribution of a unit, its arguments
SCALARS = {
    "gamma": (fsb.Gamma(), (K, MU), stats.gamma, (K, 0, MU)),
    "exponential": (fsb.Exponential(), MU, stats.expon, (0, MU)),
    "erlang": (fsb.Erlang(3), MU, stats.erlang, (3, 0, MU)),
    "chi_squared": (fsb.ChiSquared(), K, stats.chi2, (K,)),
    "beta": (fsb.Beta(), (A, B), stats.beta, (A, B)),
    "laplace": (fsb.Laplace(), (LOC, MU), stats.laplace, (LOC, MU)),
    "uniform": (fsb.Uniform(), (LOC, LOC + MU), stats.uniform, (LOC, MU)),
    "poisson": (fsb.Poisson(), np.log(RATES), stats.poisson, (RATES,)),
    "geometric": (fsb.Geometric(), special.logit(ODDS), stats.geom, (ODDS, -1)),
    "binomial": (fsb.Binomial(9), special.logit(ODDS), stats.binom, (9, ODDS)),
}
COUNTS = ("poisson", "geometric", "binomial")


@pytest.mark.slow
@pytest.mark.parametrize("name", SCALARS)
def test_values_in_double_precision(name):
    dist, eta, family, args = SCALARS[name]
    points = family.ppf(0.3, *args)
    log = family.logpmf if name in COUNTS else family.logpdf
    with jax.enable_x64(True):
        eta, z = jax.tree.map(jnp.asarray, eta), jnp.asarray(points)
        np.testing.assert_allclose(dist.log_prob(eta, z), log(points, *args), rtol=1e-9)
        np.testing.assert_allclose(dist.mean(eta), family.mean(*args), rtol=1e-12)
        rtol = 3e-5 if name == "poisson" else 1e-9
        np.testing.assert_allclose(dist.entropy(eta), family.entropy(*args), rtol=rtol)
        assert dist.sample(jax.random.key(0), eta).dtype == jnp.float64
    np.testing.assert_array_equal(dist.decode(z), z)
    if name == "binomial":
        assert dist.support(eta).tolist() == list(range(10))
        return
    with pytest.raises(fsb.FsbError, match="cannot be enumerated"):
        dist.support(eta)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCALARS)
def test_draws(name, key):
    """Kolmogorov-Smirnov, or for counts their frequencies; units are independent."""
    dist, eta, family, args = SCALARS[name]
    count = 4000
    rows = jax.tree.map(lambda x: jnp.broadcast_to(jnp.float32(x)[None], (count, 4)), eta)
    z = np.asarray(jax.jit(dist.sample)(key, rows), np.float64)
    assert np.isfinite(z).all()
    uniform = family.cdf(z, *args)
    if name in COUNTS:
        below = family.cdf(z - 1, *args)
        uniform = below + (uniform - below) * np.random.default_rng(0).uniform(size=z.shape)
    for unit in range(4):
        if name in ("gamma", "chi_squared") and unit == 0:
            continue  # most are below float32's least number
        assert stats.kstest(uniform[:, unit], "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(uniform.T)[np.triu_indices(4, 1)]).max() < 4.5 / np.sqrt(count)


@pytest.mark.slow
def test_implicit_derivatives():
    """Of log z in the shape, at a fixed quantile, by differences of SciPy's inverse cdf."""
    shapes = np.array([0.01, 0.05, 0.3, 1.0, 4.0, 60.0])
    u = np.array([0.02, 0.4, 0.9, 0.999])
    shape, u = (x.ravel() for x in np.meshgrid(shapes, u))
    z, step = special.gammaincinv(shape, u), 1e-5 * shape
    up, down = special.gammaincinv(shape + step, u), special.gammaincinv(shape - step, u)
    true = np.log(up / down) / (2 * step)
    slope = jax.vmap(jax.grad(_implicit, 1))(jnp.float32(np.log(z)), jnp.float32(shape))
    np.testing.assert_allclose(slope, true, rtol=2e-3)
    assert z.min() < 1e-100  # no number of float32


@pytest.mark.slow
def test_vectors_in_double_precision():
    z = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    with jax.enable_x64(True):
        dist, eta = fsb.Dirichlet(), jnp.asarray(ALPHA)
        expected = [stats.dirichlet.logpdf(x, a) for x, a in zip(z, ALPHA, strict=True)]
        np.testing.assert_allclose(dist.log_prob(eta, jnp.asarray(z)), expected, rtol=1e-9)
        expected = [stats.dirichlet.entropy(a) for a in ALPHA]
        np.testing.assert_allclose(dist.entropy(eta), expected, rtol=1e-9)
        np.testing.assert_allclose(dist.mean(eta), ALPHA / ALPHA.sum(-1, keepdims=True))
        dist, eta = fsb.MultivariateNormal(), (jnp.asarray(VECTOR), jnp.asarray(FACTOR))
        normal = stats.multivariate_normal(VECTOR, np.tril(FACTOR) @ np.tril(FACTOR).T)
        np.testing.assert_allclose(dist.log_prob(eta, jnp.asarray(z[0])), normal.logpdf(z[0]))
        np.testing.assert_allclose(dist.entropy(eta), normal.entropy(), rtol=1e-9)


@pytest.mark.slow
def test_draws_of_vectors(key):
    count = 4000
    eta = jnp.broadcast_to(jnp.float32(ALPHA)[None], (count, 2, 3))
    z = np.asarray(jax.jit(fsb.Dirichlet().sample)(key, eta), np.float64)
    np.testing.assert_allclose(z.sum(-1), 1, rtol=1e-5)
    for unit, k in np.ndindex(2, 3):
        marginal = stats.beta(ALPHA[unit, k], ALPHA[unit].sum() - ALPHA[unit, k])
        if ALPHA[unit, k] > 0.2:
            assert stats.kstest(marginal.cdf(z[:, unit, k]), "uniform").pvalue > 1e-3
    eta = tuple(jnp.broadcast_to(jnp.float32(x)[None], (count, *x.shape)) for x in (VECTOR, FACTOR))
    dist = fsb.MultivariateNormal()
    z = dist.sample(key, eta)
    noise = np.asarray(dist.standardize(eta, z))
    np.testing.assert_allclose(noise, dist.noise(key, eta), rtol=1e-3, atol=1e-3)
    spread = np.abs(np.cov(np.asarray(z).T) - np.tril(FACTOR) @ np.tril(FACTOR).T).max()
    assert spread < 5 / np.sqrt(count)


def test_a_site_of_each_holds_no_bits(key):
    """What lists the sites of a model can bear them all."""
    for dist, eta, *_ in SCALARS.values():
        eta = jax.tree.map(jnp.asarray, eta)
        site = jax.eval_shape(lambda e, d=dist: Site("z", d, e, d.mean(e), d.mean(e)), eta)
        counted = {fsb.Binomial: np.log2(10)}
        assert stochastic_bits(site) == pytest.approx(counted.get(type(dist), 0))
    site = Site("z", fsb.Dirac(), *[jnp.ones((1, 1))] * 3)
    assert stochastic_bits(site) == 0
    assert fsb.Dirac().entropy(site.eta).item() == 0
    np.testing.assert_array_equal(fsb.Dirac().from_noise(site.z, 3 * site.z), 3 * site.z)
