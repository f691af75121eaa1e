"""The VAE against its enumeration in NumPy."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import ByHand
from small import MODELS, SHAPE, example, shaken, start

from fsb import FsbError
from fsb.networks import BernoulliLikelihood, GaussianLikelihood, vae
from fsb.objectives import elbo, importance_weighted_bound, log_weight
from fsb.sites import ancestral, collect_sites, mean, replay


def models(*quick):
    """All models; those not named are for the slow run."""
    names = [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in MODELS]
    return pytest.mark.parametrize("name", names)


def evidence_at(model, variables, x, sampler):
    return collect_sites(lambda sample: model.apply(variables, x, sample), sampler)[0]


def setup(name):
    model = MODELS[name]
    size = 0.5 if model.likelihood.outputs == 1 else 0.15  # keeps Gaussian weights moderate
    variables, x = shaken(start(model), size), example(model.likelihood)
    return model, variables, x, ByHand(model, variables, x)


def draws(model, variables, x, key, count, of):
    """``of(evidence)`` at ``count`` hard samples of one x."""
    many = jnp.broadcast_to(x[None], (count, *x.shape))
    one = lambda key: of(evidence_at(model, variables, many, ancestral(key)))
    return np.asarray(jax.jit(one)(key), np.float64)


@pytest.mark.slow
@models("1-bernoulli-tanh", "2-gaussian-tanh", "3-bernoulli-tanh")
def test_every_term_at_every_state(name):
    model, variables, x, by_hand = setup(name)
    index, (likelihood, prior, entropy, posterior) = by_hand.terms()
    values = {f"z{i + 1}": jnp.float32(by_hand.z[index[:, i]]) for i in range(model.layers)}
    many = jnp.broadcast_to(x[None], (len(index), *x.shape))
    found = jax.jit(lambda v: evidence_at(model, v, many, replay(values)))(variables)
    close = partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-4)
    close(found.likelihood, likelihood)
    for ours, theirs in (
        (found.prior, prior),
        (found.entropy, entropy),
        (found.posterior, posterior),
    ):
        assert len(ours) == model.layers
        for a, b in zip(ours, theirs, strict=True):
            close(a, b)
    close(found.mean.reshape(len(index), -1), by_hand.means()[index[:, 0]])
    assert found.mean.shape == many.shape
    weight = np.exp(sum(posterior))
    assert weight.sum() == pytest.approx(1)
    close(weight @ -np.asarray(elbo()(found), np.float64), by_hand.elbo())
    close(weight @ np.asarray(log_weight(found), np.float64), by_hand.elbo())
    assert by_hand.elbo() < by_hand.log_p() - 0.05
    close(np.log(weight @ np.exp(np.float64(log_weight(found)))), by_hand.log_p())


@pytest.mark.slow
@models("2-bernoulli-linear", "3-gaussian-linear")
def test_sampled_elbos_average_to_the_enumerated_one(name, key):
    model, variables, x, by_hand = setup(name)
    samples = draws(model, variables, x, key, 40_000, lambda evidence: -elbo()(evidence))
    error = samples.std() / np.sqrt(len(samples))
    assert abs(samples.mean() - by_hand.elbo()) < 4 * error < 0.02 * abs(by_hand.elbo())
    assert samples.std() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["2-bernoulli-linear", pytest.param("1-bernoulli-tanh", marks=pytest.mark.slow)]
)
def test_bounds_rise_towards_log_p(name, key):
    model, variables, x, by_hand = setup(name)
    many = jnp.broadcast_to(x[None], (1000, *x.shape))
    weights = lambda key: log_weight(evidence_at(model, variables, many, ancestral(key)))
    means = []
    for count in (1, 5, 50):
        bounds = np.asarray(
            jax.jit(importance_weighted_bound, static_argnums=(0, 2))(weights, key, count)
        )
        error = bounds.std() / np.sqrt(1000)
        means.append(bounds.mean())
        assert means[-1] < by_hand.log_p() + 4 * error
        if count == 1:
            assert means[0] == pytest.approx(by_hand.elbo(), abs=4 * error)
    assert means[0] + 0.02 < means[1] < means[2]
    assert by_hand.log_p() - means[2] < 0.3 * (by_hand.log_p() - by_hand.elbo())


def true_posterior():
    """A model whose units each own two pixels, with an encoder that is its exact posterior."""
    model = vae(SHAPE, BernoulliLikelihood(), layers=1, width=3, hidden=0)
    variables = start(model)
    rng = np.random.default_rng(3)
    kernel = np.zeros((3, 6))
    for unit in range(3):
        kernel[unit, 2 * unit : 2 * unit + 2] = rng.normal(size=2)
    data_mean = np.float64(variables["constants"]["mean"]).ravel()
    offset, prior = np.log(data_mean / (1 - data_mean)), rng.normal(size=3)
    softplus = lambda a: np.logaddexp(0, a)
    at_one = (softplus(offset + kernel) - softplus(offset - kernel)) * (kernel != 0)
    bias = prior - at_one.sum(1) + 2 * kernel @ data_mean
    params = {
        "down_0": {"Dense_0": {"kernel": kernel, "bias": np.zeros(6)}},
        "up_0": {"Dense_0": {"kernel": 2 * kernel.T, "bias": bias}},
        "prior": {"logits": prior},
    }
    return model, {**variables, "params": jax.tree.map(jnp.float32, params)}


@pytest.mark.slow
def test_the_bound_is_tight_at_the_true_posterior(key):
    model, variables = true_posterior()
    assert jax.tree.structure(variables) == jax.tree.structure(start(model))
    x = example(model.likelihood)
    by_hand = ByHand(model, variables, x)
    assert by_hand.elbo() == pytest.approx(by_hand.log_p(), abs=1e-5)
    weights = draws(model, variables, x, key, 1000, log_weight)
    np.testing.assert_allclose(weights, by_hand.log_p(), atol=2e-5)
    samples = draws(model, variables, x, key, 20_000, lambda evidence: -elbo()(evidence))
    error = samples.std() / np.sqrt(len(samples))
    assert abs(samples.mean() - by_hand.log_p()) < 4 * error < 0.1


@pytest.mark.slow
@models("3-bernoulli-tanh")
def test_generated_means_average_to_those_of_the_model(name, key):
    model, variables, _, by_hand = setup(name)
    generate = jax.jit(partial(model.apply, method="generate"), static_argnums=2)
    samples = np.asarray(generate(variables, key, 20_000), np.float64).reshape(20_000, -1)
    error = samples.std(0) / np.sqrt(len(samples)) + 1e-6
    assert (abs(samples.mean(0) - by_hand.generated_mean()) < 4.5 * error).all()
    assert error.max() < 0.02
    assert samples.std(0).min() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", [BernoulliLikelihood(), GaussianLikelihood()], ids=str)
def test_an_untrained_network_starts_at_the_data_mean(likelihood):
    """All layers are odd functions at first: at the mean nothing is known, and z and -z cancel."""
    model = vae(SHAPE, likelihood, layers=2, width=5, hidden=2)
    variables = start(model)
    data_mean = variables["constants"]["mean"]
    evidence = jax.jit(lambda v: evidence_at(model, v, data_mean[None], mean()))(variables)
    np.testing.assert_allclose(evidence.entropy, 5 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(evidence.mean[0], data_mean, rtol=1e-5)
    z = jnp.float32([[1, -1, 1, 1, -1]])
    decode = jax.jit(partial(model.apply, method="decode"))
    up, down = decode(variables, z), decode(variables, -z)
    np.testing.assert_allclose(likelihood.mean((up + down) / 2)[0], data_mean, rtol=1e-5)
    assert abs(up - down).max() > 0.1
    if likelihood.outputs == 2:
        np.testing.assert_allclose(((up + down) / 2)[..., 1], -3, rtol=1e-5)


def test_the_data_mean_is_not_trained():
    variables = jax.eval_shape(lambda: start(vae(SHAPE, BernoulliLikelihood(), width=4)))
    names = {str(path) for path, _ in jax.tree_util.tree_leaves_with_path(variables["params"])}
    assert not any("mean" in name for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["learned", "uniform"])
def test_priors(prior, key):
    model = vae(SHAPE, BernoulliLikelihood(), layers=2, width=4, hidden=0, prior=prior)
    variables = shaken(start(model))
    x = jnp.broadcast_to(example(model.likelihood)[None], (3, *SHAPE))

    def total(params):
        evidence = evidence_at(model, {**variables, "params": params}, x, ancestral(key))
        return evidence.prior[-1].sum(), evidence.prior[-1]

    (_, top), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(variables["params"])
    if prior == "uniform":
        assert "prior" not in variables["params"]
        np.testing.assert_allclose(top, -4 * np.log(2), rtol=1e-6)
    else:
        assert start(model)["params"]["prior"]["logits"].tolist() == [0] * 4
        _, sites = jax.jit(lambda v: collect_sites(partial(model.apply, v, x), ancestral(key)))(
            variables
        )
        p = 1 / (1 + np.exp(-np.float64(variables["params"]["prior"]["logits"])))
        expected = (np.float64(sites[-1].z > 0) - p).sum(0)
        np.testing.assert_allclose(grads["prior"]["logits"], expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "likelihood"), [((8, 8), BernoulliLikelihood()), ((4, 4, 3), GaussianLikelihood())]
)
def test_shapes(shape, likelihood, key):
    model = vae(shape, likelihood, layers=2, width=6, hidden=1)
    variables = start(model, shape)
    run = lambda v: collect_sites(
        lambda sample: model.apply(v, jnp.ones((3, *shape)), sample), ancestral(key)
    )
    evidence, sites = jax.jit(run)(variables)
    assert [(site.name, site.z.shape) for site in sites] == [("z1", (3, 6)), ("z2", (3, 6))]
    assert evidence.mean.shape == (3, *shape)
    for term in (evidence.likelihood, *evidence.prior, *evidence.entropy, *evidence.posterior):
        assert term.shape == (3,)
    generated = jax.eval_shape(lambda v, k: model.apply(v, k, 7, method="generate"), variables, key)
    assert generated.shape == (7, *shape)
    size = int(np.prod(shape))
    counts = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    up = (size + 1) * 6 + 7 * 6 + 2 * 7 * 6
    down = 7 * 6 + 7 * size * likelihood.outputs + 2 * 7 * 6
    assert counts == up + down + 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": 0}, r"model\.layers=0: it must be at least 1"),
        ({"width": 0}, r"model\.width=0: it must be at least 1"),
        ({"hidden": -1}, r"model\.hidden=-1: it must be at least 0"),
        (
            {"prior": "unifrom"},
            r"model\.prior: unknown 'unifrom'; did you mean uniform\? "
            r"\(choices: autoregressive, learned, uniform\)",
        ),
        ({"low": 1.0}, "low must be below high"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(FsbError, match=message) as caught:
        vae(SHAPE, BernoulliLikelihood(), **arguments)
    assert "\n" not in str(caught.value)
