"""The numbers a model is judged by, against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logsumexp

import fsb.train
from fsb.cli.saved import load_run_config
from fsb.cli.schema import Train
from fsb.sites import ancestral, collect_sites
from fsb.training import evaluation, results
from runs import assembled, main, train

OPTIONS = ("data.binarisation=threshold", "model.layers=1")


@pytest.fixture(scope="module")
def parts():
    """A run with one layer, on data without noise."""
    return assembled(*OPTIONS)[0]


@pytest.fixture(scope="module")
def trained(parts):
    """Parameters far from their start: every unit's posterior differs from image to image."""
    state = parts.first_state()
    noise = np.random.RandomState(3)

    def moved(leaf):
        return np.asarray(leaf) + 0.3 * noise.randn(*leaf.shape).astype(np.float32)

    return {"params": jax.tree.map(moved, state.params), "constants": state.constants}


@pytest.fixture(scope="module")
def certain(trained):
    """The same with posteriors of 0 and 1: z is the same for all images, and nothing is drawn."""
    params = jax.tree.map(np.array, trained["params"])
    last = params["up_0"]["Dense_1"]
    last["kernel"] = np.zeros_like(last["kernel"])
    last["bias"] = np.where(np.arange(8) % 3 == 0, 1000.0, -1000.0).astype(np.float32)
    return {**trained, "params": params}


def dense(x, layer):
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)


def binary(images):
    return (images.reshape(len(images), -1) > 127).astype(np.float64)


def log_bernoulli(logits, x):
    return -np.logaddexp(0, np.where(x > 0.5, -logits, logits))


def by_hand(parts, variables, images, z):
    """log p(x | z) of each image and log p(z), where z [8] is in {-1, 1}."""
    params = variables["params"]
    mean = np.clip(np.asarray(variables["constants"]["mean"], np.float64).ravel(), 1e-3, 1 - 1e-3)
    hidden = np.tanh(dense(z, params["down_0"]["Dense_0"]))
    offset = np.log(mean / (1 - mean))
    logits = dense(hidden, params["down_0"]["Dense_1"]) + offset
    likelihood = log_bernoulli(logits, binary(images)).sum(1)
    return likelihood, log_bernoulli(np.asarray(params["prior"]["logits"], np.float64), z > 0).sum()


@pytest.mark.slow
def test_the_elbo_by_hand(parts, certain):
    images = parts.data.test[:37]
    z = np.where(np.arange(8) % 3 == 0, 1.0, -1.0)
    likelihood, prior = by_hand(parts, certain, images, z)
    found = evaluation.evaluate(parts.recipe, certain, images, jax.random.key(0))
    values = likelihood + prior  # the entropy is 0
    assert found["elbo"] == pytest.approx(values.mean(), rel=1e-5)
    assert found["elbo_se"] == pytest.approx(values.std(ddof=1) / np.sqrt(37), rel=1e-3)
    assert found["kl_1"] == pytest.approx(-prior, rel=1e-5)
    assert found["active_1"] == 0
    assert found["collapsed_layers"] == 1
    mean, error = evaluation.bound(parts.recipe, certain, images, jax.random.key(0), 5)
    assert mean == pytest.approx(values.mean(), rel=1e-5)  # all weights are the same
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(37), rel=1e-3)


@pytest.mark.slow
def test_what_fills_the_last_batch_does_not_count(parts, certain):
    images = parts.data.test[:37]
    whole = evaluation.evaluate(parts.recipe, certain, images, jax.random.key(0))
    cut = evaluation.evaluate(parts.recipe, certain, images, jax.random.key(1), 7)
    assert cut == pytest.approx(whole, rel=1e-4)
    whole = evaluation.bound(parts.recipe, certain, images, jax.random.key(0), 5)
    cut = evaluation.bound(parts.recipe, certain, images, jax.random.key(0), 5, 7)
    assert cut == pytest.approx(whole, rel=1e-4)


@pytest.mark.slow
def test_eight_devices_judge_as_one(parts, trained):
    many = assembled(*OPTIONS, "devices=8")[0].recipe
    there = jax.tree.map(many.layout.replicate, trained)
    images, key = parts.data.test[:37], jax.random.key(0)
    for call in (evaluation.evaluate, lambda *args: evaluation.bound(*args, 5)):
        one = call(parts.recipe, trained, images, key)
        assert call(many, there, images, key) == pytest.approx(one, rel=1e-4)


@pytest.mark.slow
def test_the_bound_by_hand(parts, trained):
    images, key = parts.data.test[:37], jax.random.key(4)
    params = trained["params"]
    mean, error = evaluation.bound(parts.recipe, trained, images, key, 5)
    data_key, sample_key = jax.random.split(jax.random.fold_in(key, 0))
    x = jnp.asarray(parts.recipe.preprocess(data_key, images))
    log_weights = []
    for each in jax.random.split(sample_key, 5):
        _, (site,) = collect_sites(
            lambda sample: parts.recipe.model.apply(trained, x, sample), ancestral(each)
        )
        z, eta = np.asarray(site.z), np.asarray(site.eta, np.float64)
        pairs = [
            by_hand(parts, trained, image[None], code)
            for image, code in zip(images, z, strict=True)
        ]
        joint = np.array([likelihood[0] + prior for likelihood, prior in pairs])
        log_weights.append(joint - log_bernoulli(eta, z > 0).sum(1))
    values = logsumexp(np.stack(log_weights), axis=0) - np.log(5)
    assert mean == pytest.approx(values.mean(), rel=1e-5)
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(37), rel=1e-3)
    hidden = np.tanh(
        dense(binary(images) - np.asarray(parts.data.mean).ravel(), params["up_0"]["Dense_0"])
    )
    np.testing.assert_allclose(eta, dense(hidden, params["up_0"]["Dense_1"]), rtol=1e-4, atol=1e-5)


def test_active_units_by_hand(parts, trained):
    images = parts.data.test
    params = jax.tree.map(np.array, trained["params"])
    params["up_0"]["Dense_1"]["kernel"][:, ::2] *= 0.05  # half of the units hardly react
    found = evaluation.evaluate(
        parts.recipe, {**trained, "params": params}, images, jax.random.key(0), 37
    )
    x = binary(images) - np.asarray(parts.data.mean).ravel()
    hidden = np.tanh(dense(x, params["up_0"]["Dense_0"]))
    posterior = expit(dense(hidden, params["up_0"]["Dense_1"]))
    variance = posterior.var(axis=0)
    assert abs(variance - evaluation.ACTIVE).min() > 1e-4
    assert found["active_1"] == (variance > evaluation.ACTIVE).sum()
    assert 0 < found["active_1"] < 8
    assert found["collapsed_layers"] == 0


def test_more_samples_tighten_the_bound(parts, trained):
    images, key = parts.data.test[:37], jax.random.key(0)
    elbo = evaluation.evaluate(parts.recipe, trained, images, key)["elbo"]
    assert evaluation.bound(parts.recipe, trained, images, key, 5)[0] > elbo + 0.1


@pytest.mark.slow
def test_reconstructions_and_samples(parts, trained):
    images = parts.recipe.layout.replicate(parts.data.test[:5])
    x, mean = evaluation.reconstruct(parts.recipe, trained, images, jax.random.key(0))
    np.testing.assert_array_equal(np.asarray(x).reshape(5, -1), binary(parts.data.test[:5]))
    assert mean.shape == x.shape == (5, 8, 8)
    assert 0 < mean.min() < mean.max() < 1
    samples = evaluation.generate(parts.recipe, trained, jax.random.key(0), 9)
    assert samples.shape == (9, 8, 8)
    assert 0 <= samples.min() <= samples.max() <= 1
    assert not np.array_equal(samples[0], samples[1])


UNSET = dict.fromkeys(("eval_examples", "gradient_draws", "steps_per_call"))
UNSET["eval_batch_size"] = 64


@pytest.mark.slow
def test_a_large_network_is_judged_by_fewer_images_in_shorter_calls(monkeypatch):
    parts, _ = assembled()
    full = {"eval_examples": results.MOST, "steps_per_call": results.MOST_STEPS}
    full["gradient_draws"] = results.MOST_DRAWS
    assert results.affordable(parts, UNSET) == full
    assert results.affordable(parts, {**UNSET, **full}) == {}
    state = parts.first_state()
    found = {"params": state.params, "constants": state.constants}
    one = evaluation.operations(parts.recipe, found, parts.data.train, 64)
    products = sum(x.size for x in jax.tree.leaves(state.params) if x.ndim == 2)
    assert 2 * products < one < 20 * products + 10_000
    monkeypatch.setitem(results.OPERATIONS, "cpu", 3 * 7.5 * one)
    monkeypatch.setitem(results.OPERATIONS_OF_A_CALL, "cpu", 3 * 5.5 * parts.batch_size * one)
    fits = {"eval_examples": 7, "gradient_draws": 0, "steps_per_call": 5}
    assert results.affordable(parts, UNSET) == fits
    monkeypatch.setitem(results.OPERATIONS_OF_A_CALL, "cpu", 1.0)
    given = UNSET | {"eval_examples": 9, "gradient_draws": 0}
    assert results.affordable(parts, given) == {"steps_per_call": 1}
    for fits, draws in ((2.5, 2), (1.5, 0)):  # one draw has no variance
        monkeypatch.setitem(results.OPERATIONS, "cpu", 3 * parts.batch_size * one * fits)
        assert results.affordable(parts, UNSET)["gradient_draws"] == draws


@pytest.mark.slow
def test_what_is_affordable_stands_in_the_configuration(tmp_path, monkeypatch, capsys):
    found = {"eval_examples": 17, "steps_per_call": 3}
    monkeypatch.setattr(fsb.train, "affordable", lambda parts, config: found)
    folder = main(tmp_path / "run", "eval_examples=null", "steps_per_call=null", "max_steps=10")
    config = load_run_config(folder, Train)
    assert (config.eval_examples, config.steps_per_call) == (17, 3)
    assert "evaluating" not in (folder / "metrics.csv").read_text()


@pytest.mark.slow
def test_the_splits_share_one_program(tmp_path):
    assembled("model.width=7")  # which may clear what was compiled before
    before = evaluation._sums._cache_size()
    short = {"max_steps": 1, "eval_examples": 170, "bound_samples": []}  # of 1437, 180 and 180
    train(tmp_path / "run", "model.width=7", **short)
    train(tmp_path / "whole", "model.width=7", **(short | {"eval_examples": 2000}))
    assert evaluation._sums._cache_size() == before + 2
