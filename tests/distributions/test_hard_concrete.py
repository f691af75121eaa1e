"""Hard concrete gates, against SciPy's quadrature."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import expit, logit

import fsb

LOGITS = np.array([-4.0, -0.3, 1.0, 6.0])
GATES = {
    "default": fsb.HardConcrete(),
    "cold": fsb.HardConcrete(0.3, -0.2, 1.05),
    "warm": fsb.HardConcrete(2.0),
}


def cdf(dist, eta, z):
    """P(value before it is cut < z): the concrete distribution, stretched."""
    s = (z - dist.low) / (dist.high - dist.low)
    return expit(dist.temperature * logit(s) - eta)


@pytest.mark.slow
@pytest.mark.parametrize("name", GATES)
def test_masses_density_mean_and_entropy(name):
    dist = GATES[name]
    with jax.enable_x64(True):
        at = lambda eta, z: float(dist.log_prob(jnp.asarray(eta), jnp.asarray(float(z))))
        for eta in LOGITS:
            zero, one = cdf(dist, eta, 0), 1 - cdf(dist, eta, 1)
            assert np.exp(at(eta, 0)) == pytest.approx(zero, rel=1e-9)
            assert np.exp(at(eta, 1)) == pytest.approx(one, rel=1e-9)
            assert float(dist.nonzero(jnp.asarray(eta))) == pytest.approx(1 - zero, rel=1e-9)
            for z in (0.1, 0.5, 0.93):
                slope = (cdf(dist, eta, z + 1e-6) - cdf(dist, eta, z - 1e-6)) / 2e-6
                assert np.exp(at(eta, z)) == pytest.approx(slope, rel=1e-6)
            z = jnp.linspace(2e-6, 1 - 2e-6, 200_001)
            log = np.asarray(dist.log_prob(jnp.full_like(z, eta), z))
            inner = lambda f: integrate.simpson(np.exp(log) * f, x=z)  # noqa: B023
            assert inner(1) + zero + one == pytest.approx(1, abs=1e-4)
            assert float(dist.mean(jnp.asarray(eta))) == pytest.approx(inner(z) + one, abs=1e-4)
            entropy = -inner(log) - zero * np.log(zero) - one * np.log(one)
            assert float(dist.entropy(jnp.asarray(eta))) == pytest.approx(entropy, abs=3e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", GATES)
def test_draws(name, key):
    dist, count = GATES[name], 20_000
    z = dist.sample(key, jnp.broadcast_to(jnp.float32(LOGITS), (count, 4)))
    assert (float(z.min()), float(z.max())) == (0, 1)
    for unit, eta in enumerate(LOGITS):
        draws = np.asarray(z[:, unit], np.float64)
        zero, one = cdf(dist, eta, 0), 1 - cdf(dist, eta, 1)
        for mass, value in ((zero, 0), (one, 1)):
            share = (draws == value).mean()
            assert abs(share - mass) < 4 * np.sqrt(mass * (1 - mass) / count) + 1e-12
        between = draws[(draws > 0) & (draws < 1)]
        if len(between) > 100:
            u = (cdf(dist, eta, between) - zero) / (1 - zero - one)
            assert stats.kstest(u, "uniform").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [fsb.pathwise(), fsb.reinforce()])
def test_gradients(estimator, key):
    """Of E z^2 at one gate, by differences of the quadrature of its mean square."""
    dist, eta = fsb.HardConcrete(), jnp.full((1, 1), 0.7)
    loss = lambda eta, sample: sample("z", dist, eta)[:, 0] ** 2
    draws = np.asarray(fsb.sample_gradients(estimator, loss, eta, key, 100_000), np.float64)

    def square(eta):
        """The integral of 2 z P(Z > z)."""
        return integrate.quad(lambda z: 2 * z * (1 - cdf(dist, eta, z)), 0, 1)[0]

    true = (square(0.7 + 1e-4) - square(0.7 - 1e-4)) / 2e-4
    assert abs(draws.mean() - true) < 4 * draws.std() / np.sqrt(draws.size)
    assert draws.std() / np.sqrt(draws.size) < 0.02 * abs(true)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"low": 0.0}, {"high": 1.0}])
def test_what_is_out_of_range(wrong):
    with pytest.raises(fsb.FsbError, match="low < 0 and high > 1"):
        fsb.HardConcrete(**wrong)
