"""The checks for authors: all of our own families and estimators pass, and each error is found."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest
from jax.scipy.stats import norm

import fsb
from fsb.testing import check_distribution, check_estimator

SIX = jnp.array([[0.3, -0.7, 1.1], [0.0, 0.9, -1.2]])
POSITIVE = jnp.exp(SIX)
VALUES = jnp.stack([SIX, -SIX, SIX**2], -1)
FACTOR = jnp.broadcast_to(jnp.array([[0.7, 0.0], [0.3, 0.5]]), (2, 3, 2, 2))


class Foreign:
    def __init__(self, scale):
        self.scale = scale

    def sample(self, key):
        return self.scale * jax.random.normal(key, self.scale.shape)

    def log_prob(self, z):
        return norm.logpdf(z, scale=self.scale)

    def mean(self):
        return jnp.zeros_like(self.scale)

    def entropy(self):
        return 0.5 * jnp.log(2 * jnp.pi * jnp.e * self.scale**2)


FAMILIES = {
    "Bernoulli": (fsb.Bernoulli(-1.0, 3.0), SIX),
    "Beta": (fsb.Beta(), (POSITIVE, POSITIVE[:, :1])),
    "Binomial": (fsb.Binomial(4), SIX),
    "Categorical": (fsb.Categorical(), VALUES),
    "ChiSquared": (fsb.ChiSquared(), POSITIVE),
    "Dirichlet": (fsb.Dirichlet(), jnp.exp(VALUES)),
    "Erlang": (fsb.Erlang(3), POSITIVE),
    "Exponential": (fsb.Exponential(), POSITIVE),
    "External": (fsb.External(Foreign, reparameterized=True), POSITIVE),
    "Gamma": (fsb.Gamma(), (POSITIVE, POSITIVE[:1])),
    "Geometric": (fsb.Geometric(), SIX),
    "HardConcrete": (fsb.HardConcrete(), SIX),
    "Laplace": (fsb.Laplace(), (SIX, POSITIVE[:1])),
    "MultivariateNormal": (fsb.MultivariateNormal(), (VALUES[..., :2], FACTOR)),
    "Normal": (fsb.Normal(), (SIX, POSITIVE[:, :1])),
    "Poisson": (fsb.Poisson(), SIX),
    "Subset": (fsb.Subset(2), VALUES),
    "TopK": (fsb.TopK(2), VALUES),
    "Uniform": (fsb.Uniform(), (-POSITIVE, POSITIVE[:1])),
}


def test_every_family_is_here():
    functions = {"logit_of"}
    assert {"Dirac", *FAMILIES} | functions == set(fsb.distributions.__all__)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_our_own_families(name):
    dist, eta = FAMILIES[name]
    assert check_distribution(dist, eta) is None


def wrong(base=fsb.Normal, **methods):
    """A family with some methods replaced."""
    return dataclass(frozen=True)(type("Wrong", (base,), methods))()


ETA = (SIX, POSITIVE)
NOISE = fsb.Normal().noise
CHOICE = fsb.Bernoulli()
ERRORS = {
    "mean": (wrong(mean=lambda self, eta: eta[0] + 0.1), ETA, "mean is not the mean"),
    "entropy": (wrong(entropy=lambda self, eta: 0 * eta[0]), ETA, "entropy is not the mean of"),
    "score": (
        wrong(log_prob=lambda self, eta, z: jax.lax.stop_gradient(
            norm.logpdf(z, *eta)) + 0.1 * (eta[0] - jax.lax.stop_gradient(eta[0]))),
        ETA,
        "the mean of the score is not 0",
    ),
    "coupled noise": (
        wrong(noise=lambda self, key, eta: jnp.broadcast_to(
            NOISE(key, eta)[..., :1], eta[0].shape)),
        ETA,
        "two units have draws with a correlation of 1",
    ),
    "noise of eta": (
        wrong(
            noise=lambda self, key, eta: NOISE(key, eta) + eta[0],
            from_noise=lambda self, noise, eta: noise,
        ),
        ETA,
        "noise must not depend on the values of eta",
    ),
    "sample": (
        wrong(sample=lambda self, key, eta: eta[0] - eta[1] * NOISE(key, eta)),
        ETA,
        "must equal from_noise(noise(key, eta), eta)",
    ),
    "path": (
        wrong(from_noise=lambda self, noise, eta: eta[0] + eta[1] * noise
              + 0.2 * (jax.lax.stop_gradient(eta[0]) - eta[0])),
        ETA,
        "the derivative of a draw has the wrong mean",
    ),
    "dtype": (
        wrong(mean=lambda self, eta: eta[0].astype("bfloat16")),
        ETA,
        "mean must have the dtype of eta, float32, not bfloat16",
    ),
    "shape": (
        wrong(log_prob=lambda self, eta, z: norm.logpdf(z, *eta).sum(-1)),
        ETA,
        "log_prob must have the shape (2, 3), not (2,)",
    ),
    "probabilities": (
        wrong(fsb.Bernoulli, log_prob=lambda self, eta, z: CHOICE.log_prob(eta, z) + 0.01,
              entropy=lambda self, eta: CHOICE.entropy(eta) - 0.01),
        SIX,
        "the probabilities of the support sum to 1.0",
    ),
    "values": (
        wrong(fsb.Bernoulli, support=lambda self, eta: jnp.zeros((*eta.shape, 2))),
        SIX,
        "support must return the values along the first axis",
    ),
    "class": (fsb.Normal, ETA, "Normal is a class; pass an instance"),
    "method": (object(), ETA, "object: sample is missing"),
    "list": (type("Mutable", (fsb.Normal,), {"__hash__": None})(), ETA, "must be hashable"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ERRORS)
def test_an_error_in_a_family_is_found(name):
    dist, eta, words = ERRORS[name]
    with pytest.raises(fsb.FsbError) as caught:
        check_distribution(dist, eta)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


BIASED = ("st", "darn", "foust", "reinmax", "zgr", "gst", "mve", "gumbel_softmax", "gumbel_rao",
          "reinmax_rao", "reinmax_cv", "st_gumbel_softmax", "decoupled_st_gumbel_softmax",
          "redge", "deterministic_st")  # fmt: skip
UNBIASED = ("reinforce", "nvil", "rloo", "muprop", "rebar", "relax", "arm", "disarm", "arms",
            "double_cv", "rodeo", "local_expectation", "bitflip", "ugc", "exact")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BIASED, *UNBIASED])
def test_our_own_estimators(name):
    assert check_estimator(getattr(fsb, name)(), unbiased=name in UNBIASED) is None


CONTINUOUS = ("pathwise", "fourier_exact", "weak_reparameterization")


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTINUOUS)
def test_our_own_estimators_of_continuous_units(name):
    """Against ``reinforce``, as there is nothing to enumerate."""
    gamma = fsb.Gamma(), (POSITIVE + 1, POSITIVE)
    dist, eta = gamma if name.startswith("weak") else (fsb.Normal(), ETA)
    assert check_estimator(getattr(fsb, name)(), dist, eta, draws=20_000) is None


def scaled(factor):
    """REINFORCE with its gradient multiplied."""
    inner = fsb.reinforce()

    def surrogate(run, control, state, key):
        losses, aux = inner.surrogate(run, control, state, key)
        return factor * losses + (1 - factor) * jax.lax.stop_gradient(losses), aux

    return fsb.Estimator(inner.init, surrogate)


def impure():
    count = []

    def surrogate(run, control, state, key):
        count.append(1)
        return fsb.st().surrogate(run, control, state, jax.random.key(len(count)))

    return fsb.Estimator(fsb.st().init, surrogate)


BROKEN = {
    "biased": (lambda: scaled(1.2), "the gradient is biased"),
    "infinite": (lambda: scaled(float("inf")), "the gradient must be finite"),
    "impure": (impure, "under jax.jit the result differs"),
    "state": (
        lambda: fsb.Estimator(
            lambda key, sites: ((), ()),
            lambda run, c, s, key: (run_of(run, key), fsb.Aux(0.0, (jnp.zeros(()),), {})),
        ),
        "the next state must have the structure of the state",
    ),
    "factory": (lambda: fsb.st, "pass an estimator, such as fsb.st()"),
}


def run_of(run, key):
    return run(fsb.sites.ancestral(key))[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_an_error_in_an_estimator_is_found(name):
    make, words = BROKEN[name]
    estimator = make()
    with pytest.raises(fsb.FsbError) as caught:
        check_estimator(estimator, draws=20_000)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
