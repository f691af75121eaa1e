"""Distributions of other libraries: stand-ins with the interfaces of NumPyro and Distrax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb
from fsb.sites import Site


class LikeNumpyro:
    """Normal: ``sample(key, sample_shape)``, the mean a property."""

    def __init__(self, loc, scale):
        self.loc, self.scale = loc, scale

    def sample(self, key, sample_shape=()):
        shape = (*sample_shape, *jnp.broadcast_shapes(self.loc.shape, self.scale.shape))
        return self.loc + self.scale * jax.random.normal(key, shape)

    def log_prob(self, value):
        return jax.scipy.stats.norm.logpdf(value, self.loc, self.scale)

    @property
    def mean(self):
        return self.loc

    def entropy(self):
        return 0.5 * jnp.log(2 * jnp.pi * jnp.e * self.scale**2)


class LikeDistrax:
    """One-hot: ``sample(*, seed)``, the mean a method; no entropy."""

    def __init__(self, logits):
        self.logits = logits

    def sample(self, *, seed, sample_shape=()):
        index = jax.random.categorical(seed, self.logits)
        return jax.nn.one_hot(index, self.logits.shape[-1], dtype=int)

    def log_prob(self, value):
        return (value * jax.nn.log_softmax(self.logits)).sum(-1)

    def mean(self):
        return jax.nn.softmax(self.logits)


def normal(eta):
    return LikeNumpyro(*eta)


PATH = fsb.External(normal, reparameterized=True)
SCORE = fsb.External(normal)
ONE_HOT = fsb.External(LikeDistrax, values=((1, 0, 0), (0, 1, 0), (0, 0, 1)))
LOC, SCALE = jnp.array([[0.3, -0.5]]), jnp.array([[0.7]])
LOGITS = jnp.array([[[0.3, -0.2, 1.0], [0.0, 0.4, -1.0]]])


@pytest.mark.slow
def test_methods(key):
    dist, same = PATH, fsb.Normal()
    eta = (LOC, SCALE)
    z = dist.sample(key, eta)
    assert z.shape == (1, 2)
    assert dist.noise(key, eta).shape == (1, 2)
    np.testing.assert_allclose(dist.log_prob(eta, z), same.log_prob(eta, z), rtol=1e-5)
    np.testing.assert_allclose(dist.mean(eta), same.mean(eta))
    np.testing.assert_allclose(dist.entropy(eta), same.entropy(eta), rtol=1e-5)
    np.testing.assert_array_equal(ONE_HOT.support(LOGITS), jnp.eye(3))
    np.testing.assert_allclose(ONE_HOT.mean(LOGITS), jax.nn.softmax(LOGITS))
    assert ONE_HOT.decode(z) is z


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dist", "make"), [(PATH, fsb.pathwise), (SCORE, fsb.reinforce), (PATH, fsb.reinforce)]
)
def test_continuous_gradients(dist, make, key):
    """Of E sum z^2: 2 loc and 2 scale, the scale shared by two units."""
    loss = lambda eta, sample: (sample("z", dist, eta) ** 2).sum(-1)
    draws = fsb.sample_gradients(make(), loss, (LOC, SCALE), key, 40_000)
    for found, true in zip(draws, (2 * LOC, 4 * SCALE), strict=True):
        found = np.asarray(found, np.float64)
        error = found.std(0) / np.sqrt(len(found))
        assert (abs(found.mean(0) - true) < 4 * error).all()
        assert error.max() < 0.1


def test_a_draw_that_is_not_reparameterised_passes_no_gradient(key):
    found = jax.grad(lambda loc: SCORE.sample(key, (loc, SCALE)).sum())(LOC)
    np.testing.assert_array_equal(found, 0)
    loss = lambda eta, sample: sample("z", SCORE, eta).sum(-1)
    with pytest.raises(fsb.FsbError, match="pathwise needs a reparameterised distribution"):
        fsb.value_and_grad(fsb.pathwise(), loss)((LOC, SCALE), key)


@pytest.mark.slow
def test_enumeration(key):
    own, other = (
        fsb.exact_gradient(
            lambda eta, s, d=d: (s("z", d, eta) @ jnp.array([1.0, -2.0, 4.0])).prod(-1), LOGITS
        )
        for d in (fsb.Categorical(), ONE_HOT)
    )
    np.testing.assert_allclose(other, own, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_frequencies_and_independence(key):
    z = np.asarray(ONE_HOT.sample(key, jnp.broadcast_to(LOGITS, (20_000, 2, 3))))
    assert z.dtype == np.float32
    np.testing.assert_allclose(z.mean(0), jax.nn.softmax(LOGITS)[0], atol=0.015)
    assert abs(np.corrcoef(z[:, 0, 0], z[:, 1, 0])[0, 1]) < 4 / np.sqrt(20_000)


def test_what_is_missing_is_said():
    with pytest.raises(fsb.FsbError, match="External: LikeDistrax has no entropy"):
        ONE_HOT.entropy(LOGITS)
    with pytest.raises(fsb.FsbError, match=r"name them in External\(values="):
        SCORE.support((LOC, SCALE))


@pytest.mark.slow
def test_the_noise_operator_mixes_its_units(key):
    loss = lambda eta, sample: (sample("z", PATH, eta) ** 2).sum(-1)
    estimator = fsb.noise_operator(fsb.pathwise(), 0.5, 4)
    found = fsb.sample_gradients(estimator, loss, (LOC, SCALE), key, 10_000)[0]
    np.testing.assert_allclose(found.mean(0), 2 * LOC, atol=0.06)


def test_it_is_static(key):
    site = Site("z", PATH, (LOC, SCALE), LOC, LOC)
    assert len(jax.tree.leaves(site)) == 4
    assert hash(PATH) == hash(fsb.External(normal, reparameterized=True))
