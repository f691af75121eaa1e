"""TopK, against all orders of drawing in NumPy, and its relaxation against a written-out one."""

from __future__ import annotations

from functools import partial
from itertools import combinations, permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

import fsb
from fsb.sites import site_key

INF = float("inf")
ETAS = {
    "ordinary": [0.3, -1.0, 2.0, 0.0, 0.7],
    "far apart": [1000.0, 0.5, -1000.0, 0.0, 999.0],
    "one infinite": [INF, 0.0, 1.0, -INF, 0.3],
    "ties at infinity": [INF, INF, 0.0, INF, -1.0],
    "ties below": [-INF, -INF, 2.0, -INF, -INF],
}


def log_order(eta, order):
    """The log-probability of the elements drawn in this order."""
    left, total = [*range(len(eta))], 0.0
    for element in order:
        total += eta[element] - logsumexp(eta[left])
        left.remove(element)
    return total


def enumerated(size, eta):
    """All subsets [C, N] and their log-probabilities [C], in float64."""
    eta = np.clip(np.asarray(eta, np.float64), -1e5, 1e5)  # e^-1e5 is no chance
    sets = [*combinations(range(len(eta)), size)]
    log = [logsumexp([log_order(eta, order) for order in permutations(s)]) for s in sets]
    return np.array([np.isin(np.arange(len(eta)), s) for s in sets], float), np.array(log)


def relaxed(size, zeta, temperature):
    """The relaxation of Xie & Ermon as it stands in the paper; for NumPy and JAX arrays."""
    backend = np if isinstance(zeta, np.ndarray) else jnp
    total = 0
    for _ in range(size):
        a = backend.exp((zeta - zeta.max(-1, keepdims=True)) / temperature)
        a = a / a.sum(-1, keepdims=True)
        zeta, total = zeta + backend.log(1 - a), total + a
    return total


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_probabilities_against_all_orders(size):
    dist = fsb.TopK(size)
    with jax.enable_x64(True):
        for case in ETAS:
            subsets, log = enumerated(size, ETAS[case])
            eta = jnp.broadcast_to(jnp.array(ETAS[case], jnp.float64), (len(log), 5))
            found, p = dist.log_prob(eta, jnp.asarray(subsets)), np.exp(log)
            assert jnp.exp(found).sum() == pytest.approx(1, abs=1e-9)
            np.testing.assert_array_equal(dist.support(eta), subsets)
            likely = log > -2e4  # the oracle's infinity is 1e5
            np.testing.assert_allclose(found[likely], log[likely], rtol=1e-9, atol=1e-9)
            assert (found[~likely] < -2e4).all()
            np.testing.assert_allclose(dist.mean(eta[:1])[0], p @ subsets, atol=1e-9)
            np.testing.assert_allclose(dist.entropy(eta[:1])[0], -(p * log).sum(), atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3])
def test_derivatives_against_finite_differences(size):
    dist, eta = fsb.TopK(size), np.array(ETAS["ordinary"])
    after = [[enumerated(size, eta + step * n) for n in np.eye(5)] for step in (1e-5, -1e-5)]
    above, below = (np.array([log for _, log in row]) for row in after)
    subsets = after[0][0][0]
    chances = lambda log: np.exp(log) @ subsets
    entropy = lambda log: -(np.exp(log) * log).sum(-1)
    with jax.enable_x64(True):
        eta = jnp.asarray(eta)
        scores = jax.vmap(jax.grad(dist.log_prob), (None, 0))(eta, subsets)
        slopes = jax.jacobian(dist.mean)(eta), jax.grad(dist.entropy)(eta)
    slope = lambda of: (of(above) - of(below)).T / 2e-5
    for found, of in zip((scores, *slopes), (lambda log: log, chances, entropy), strict=True):
        np.testing.assert_allclose(found, slope(of), atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3])
def test_draws_have_the_probabilities(size, key):
    eta = jnp.array([*ETAS.values()])
    draws = fsb.TopK(size).sample(key, jnp.broadcast_to(eta, (20_000, *eta.shape)))
    for case, values in zip(ETAS, np.asarray(draws).swapaxes(0, 1), strict=True):
        subsets, log = enumerated(size, ETAS[case])
        found, p = (values @ subsets.T == size).mean(0), np.exp(np.minimum(log, 0))
        assert found.sum() == pytest.approx(1), case
        assert (abs(found - p) <= 4.5 * np.sqrt(p * (1 - p) / 20_000) + 1e-9).all(), case


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3, 5])
def test_finite_with_derivatives(size, key):
    dist, eta = fsb.TopK(size), jnp.array([*ETAS.values()])
    noise, subsets = dist.noise(key, eta), dist.support(eta)[:, None]
    soft = lambda temperature, eta: dist.soften(dist.perturb(noise, eta), temperature)
    log = lambda eta: jax.vmap(partial(dist.log_prob, eta))(jnp.broadcast_to(subsets, shape))
    shape = len(subsets), *eta.shape
    for function in (dist.mean, dist.entropy, log, *(partial(soft, t) for t in (1e-5, 0.5, 2))):
        value, pull = jax.vjp(jax.jit(function), eta)
        assert np.isfinite(value).all()
        assert np.isfinite(pull(jax.random.normal(key, value.shape))[0]).all()
    np.testing.assert_allclose(soft(1e-5, eta), dist.from_noise(noise, eta), atol=1e-6)


def test_ties_and_large_logits_in_float32():
    """log_prob in the dtype of most models; a sum of weights would round log 2 off at 1e30."""
    log_prob = jax.jit(fsb.TopK(3).log_prob)
    for eta, z, expected in (
        ([INF, INF, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0], np.log(1 / 2)),
        ([INF, INF, INF, INF], [1.0, 1.0, 0.0, 1.0], np.log(1 / 4)),
        ([1000.0, 1000.0, 0.0, -1000.0], [1.0, 1.0, 0.0, 1.0], -1000),
        ([0.0, -600.0, -1000.0, 0.0], [0.0, 1.0, 1.0, 1.0], np.log(7 / 4) - 1600),
    ):
        found = log_prob(jnp.array(eta), jnp.array(z))
        assert found == pytest.approx(expected, rel=1e-5), (eta, z)


@pytest.mark.slow
def test_jit_vmap_and_bfloat16(key):
    eta = jnp.array([[ETAS["ordinary"]], [ETAS["far apart"]]])
    dist = fsb.TopK(2)
    z = dist.sample(key, eta)
    plain = dist.log_prob(eta, z)
    np.testing.assert_allclose(jax.jit(jax.vmap(dist.log_prob))(eta, z), plain, rtol=1e-6)
    half = eta.astype(jnp.bfloat16)
    noise = dist.noise(key, half)
    found = dist.sample(key, half), dist.log_prob(half, z.astype(half.dtype)), dist.mean(half)
    assert noise.dtype == jnp.float32
    assert {x.dtype for x in found} == {half.dtype}
    np.testing.assert_allclose(found[1].astype(float), plain, rtol=0.02, atol=0.02)
    site = lambda eta, sample: (sample("z", dist, eta) ** 2).sum((-1, -2))
    gradient = fsb.value_and_grad(fsb.st_gumbel_softmax(), site)(half, key)[1]
    assert gradient.dtype == half.dtype


@pytest.mark.parametrize("temperature", [0.3, 0.8, 2.0])
def test_relaxation_against_the_written_out_one(temperature, key):
    zeta = jax.random.gumbel(key, (4, 2, 5))
    expected = relaxed(3, np.asarray(zeta, np.float64), temperature)
    found = fsb.TopK(3).soften(zeta, temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.sum(-1), 3, rtol=1e-5)


def test_relaxation_where_a_softmax_is_rounded_to_1():
    """1 - a is e^-20, e^-200 and e^-150 here; with a lower limit to it the first is drawn twice."""
    for lead, temperature in ((10.0, 0.5), (100.0, 0.5), (3.0, 0.02)):
        zeta = jnp.array([lead, 0.0, -lead])
        left = np.array([lead - lead / temperature, 0.0, -lead]) / temperature
        second = np.exp(left - left.max())
        expected = np.array([1, 0, 0]) + second / second.sum()
        found = fsb.TopK(2).soften(zeta, temperature)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def loss(eta, sample):
    """Not linear."""
    z = sample("z", fsb.TopK(2), eta)
    return jnp.sin(z @ jnp.array([1.0, -0.5, 2.0, 0.7])).sum(-1) + z.sum(-2)[:, 0] ** 3 * z[:, 0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reinforce", "rloo"])
def test_score_estimators_are_unbiased(name, key):
    eta = jnp.array([[[0.3, -1.0, 1.5, 0.0], [0.0, 0.5, -0.2, 0.9]]])
    exact = fsb.exact_gradient(loss, eta)
    found = fsb.sample_gradients(getattr(fsb, name)(), loss, eta, key, 20_000)
    error = found.std(0) / np.sqrt(len(found)) + 1e-6
    assert (abs(found.mean(0) - exact) < 4.5 * error).all()


@pytest.mark.slow
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("temperature", [0.4, 1.3])
def test_gumbel_softmax_against_autodiff(hard, temperature, key):
    estimator = fsb.st_gumbel_softmax if hard else fsb.gumbel_softmax
    with jax.enable_x64(True):
        eta = jnp.array([[[0.3, -1.0, 1.5, 0.0], [0.0, 0.5, -0.2, 0.9]]], jnp.float64)
        noise = fsb.TopK(2).noise(site_key(key, "z"), eta)

        def written_out(eta):
            z = relaxed(2, eta + noise, temperature)
            if hard:
                draw = (eta + noise >= jnp.sort(eta + noise)[..., -2:-1]).astype(z.dtype)
                z = z + jax.lax.stop_gradient(draw - z)
            return loss(eta, lambda name, dist, eta: z).mean()

        expected = jax.value_and_grad(written_out)(eta)
        found = fsb.value_and_grad(estimator(temperature), loss)(eta, key)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


ONE = [ETAS["ordinary"], ETAS["far apart"], ETAS["ties at infinity"]]


def test_one_element_is_categorical(key):
    dist, one = fsb.TopK(1), fsb.Categorical()
    eta = one.canonical(jnp.array(ONE)[:, None])
    noise = dist.noise(key, eta)
    z = one.from_noise(noise, eta)
    np.testing.assert_array_equal(noise, one.noise(key, eta))
    np.testing.assert_array_equal(dist.from_noise(noise, eta), z)
    np.testing.assert_allclose(dist.log_prob(eta, z), one.log_prob(eta, z), atol=1e-6)
    softened = [d.soften(d.perturb(noise, eta), 0.7) for d in (dist, one)]
    np.testing.assert_allclose(*softened, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gumbel_softmax", "st_gumbel_softmax"])
def test_one_element_has_the_gradients_of_categorical(name, key):
    eta = jnp.array(ONE)[:, None]
    cubic = lambda dist: (
        lambda eta, sample: (sample("z", dist, eta) ** 3 @ jnp.arange(5.0)).sum(-1) ** 2
    )
    found, expected = (
        fsb.value_and_grad(getattr(fsb, name)(0.7), cubic(dist))(eta, key)
        for dist in (fsb.TopK(1), fsb.Categorical())
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_refused(key):
    eta = jnp.zeros((1, 1, 20))
    with pytest.raises(fsb.FsbError, match=r"TopK\(size=0\): it must be a positive integer"):
        fsb.TopK(0)
    with pytest.raises(fsb.FsbError, match=r"TopK\(size=21\): there are only 20 elements"):
        fsb.TopK(21).sample(key, eta)
    with pytest.raises(fsb.FsbError, match=r"TopK\(size=13\): .* use Subset\(13\), .* local"):
        fsb.TopK(13).log_prob(eta, fsb.TopK(13).sample(key, eta))
    for method in ("mean", "entropy", "support"):
        with pytest.raises(fsb.FsbError, match=r"TopK\(size=9\): too many subsets of 60 to list"):
            getattr(fsb.TopK(9), method)(jnp.zeros((1, 1, 60)))
    site = lambda eta, sample: sample("z", fsb.TopK(2), eta).sum((-1, -2))
    with pytest.raises(fsb.FsbError, match="supports Bernoulli and Categorical sites, not TopK"):
        fsb.value_and_grad(fsb.decoupled_st_gumbel_softmax(), site)(eta, key)
    with pytest.raises(fsb.FsbError, match="supports Bernoulli, Categorical and Subset sites"):
        fsb.value_and_grad(fsb.st(), site)(eta, key)
