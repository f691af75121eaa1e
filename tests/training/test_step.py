"""The train step: pure, compiled as one program, and the same wherever it is cut."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from omegaconf import OmegaConf

import fsb
from fsb.bench.variants import vae_recipe
from fsb.errors import FsbError
from fsb.training.step import estimate, first_state, gradient_statistics, run_steps, step
from runs import assembled

estimate = jax.jit(estimate, static_argnums=0)
step = jax.jit(step, static_argnums=0)


@pytest.fixture(scope="module")
def run():
    """Parts of a run, its images on the device, and the indices of 6 batches."""
    parts, _ = assembled()
    indices = np.random.RandomState(0).randint(0, 1437, (6, 16)).astype(np.int32)
    return parts, parts.recipe.layout.replicate(parts.data.train), indices


def leaves(state):
    plain = state._replace(key=jax.random.key_data(state.key))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(plain)]


def assert_identical(left, right):
    for a, b in zip(leaves(left), leaves(right), strict=True):
        np.testing.assert_array_equal(a, b)


def chunks(run, *cuts, streamed=False):
    parts, images, indices = run
    state, start = parts.first_state(), 0
    for count in cuts:
        rows = np.concatenate([indices[start:], indices[:start]])
        given = (images[rows], None) if streamed else (images, rows)
        state = run_steps(parts.recipe, state, *given, count)
        start += count
    return state


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
def test_the_cuts_do_not_count(streamed, run):
    whole = chunks(run, 6, streamed=streamed)
    assert int(whole.step) == 6
    for cuts in ((1, 1, 1, 1, 1, 1), (4, 2), (2, 3, 1)):
        assert_identical(chunks(run, *cuts, streamed=streamed), whole)
    assert_identical(chunks(run, 0, 6, streamed=streamed), whole)
    for a, b in zip(leaves(whole), leaves(chunks(run, 6)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_a_chunk_is_its_steps_one_by_one(run):
    parts, images, indices = run
    state = parts.first_state()
    losses = []
    for rows in indices:
        key = jax.random.fold_in(state.key, state.step)
        losses.append(estimate(parts.recipe, state, images[rows], key).value)
        state = step(parts.recipe, state, images[rows])
    whole = chunks(run, 6)
    for a, b in zip(leaves(state), leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert float(whole.loss_sum) == pytest.approx(float(sum(losses)), rel=1e-5)


@pytest.mark.slow
def test_an_update_is_that_of_the_optimizer(run):
    """Momentum 0.9 by hand, on the estimates of the step's own keys."""
    parts, images, indices = run
    state = parts.first_state()
    params, trace = state.params, jax.tree.map(jnp.zeros_like, state.params)
    for rows in indices[:3]:
        key = jax.random.fold_in(state.key, state.step)
        grads = estimate(parts.recipe, state, images[rows], key).params
        trace = jax.tree.map(lambda t, g: 0.9 * t + g, trace, grads)
        params = jax.tree.map(lambda p, t: p - 6e-4 * t, params, trace)
        state = step(parts.recipe, state, images[rows])
        for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(state.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(state.constants["mean"], parts.data.mean)


def test_the_state_is_donated(run):
    parts, images, indices = run
    state = parts.first_state()
    run_steps(parts.recipe, state, images, indices, 1)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    assert not images.is_deleted()


def test_the_first_state_is_that_of_the_seed(run):
    parts, _, _ = run
    assert_identical(parts.first_state(), parts.first_state())
    other = parts._replace(seed=parts.seed + 1).first_state()
    assert any(
        (a != b).any() for a, b in zip(leaves(parts.first_state()), leaves(other), strict=True)
    )


def test_batch_norm_is_refused(run):
    """It mixes the examples of a batch, which all but local estimators take for independent."""

    class Normalised(nn.Module):
        @nn.compact
        def __call__(self, x, sample):
            return nn.BatchNorm(use_running_average=False)(x)

    parts, *_ = run
    recipe = parts.recipe._replace(model=Normalised())
    with pytest.raises(
        FsbError, match=r"has the variables batch_stats, .* GroupNorm or LayerNorm instead of"
    ):
        jax.eval_shape(lambda: first_state(recipe, 0, parts.probe, parts.data.mean))


def test_a_network_returns_the_evidence(run):
    class Coins(nn.Module):
        @nn.compact
        def __call__(self, x, sample):
            return sample("z", fsb.Bernoulli(), nn.Dense(3)(x.reshape(len(x), -1)))

    parts, *_ = run
    recipe = parts.recipe._replace(model=Coins())
    with pytest.raises(FsbError, match=r"return fsb\.types\.Evidence, not an array float32"):
        jax.eval_shape(lambda: first_state(recipe, 0, parts.probe, parts.data.mean))


@pytest.mark.slow
def test_every_step_draws_anew(run):
    parts, images, _ = run
    state, rows = parts.first_state(), np.arange(16)
    drawn = [
        estimate(parts.recipe, state, images[rows], jax.random.fold_in(state.key, number)).value
        for number in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.slow
def test_gradient_statistics_are_norm_and_variance_over_draws(run):
    parts, images, _ = run
    state, batch, key = parts.first_state(), images[:16], jax.random.key(7)
    found = gradient_statistics(parts.recipe, state, batch, key, 5)
    grads = [estimate(parts.recipe, state, batch, each).params for each in jax.random.split(key, 5)]
    flat = np.stack(
        [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(g)]) for g in grads]
    ).astype(np.float64)
    norm = np.sqrt((flat**2).sum(1).mean())
    assert float(found["gradient_norm"]) == pytest.approx(norm, rel=1e-4)
    variance = flat.var(axis=0, ddof=1).sum()
    assert float(found["gradient_variance"]) == pytest.approx(variance, rel=1e-4)
    assert float(optax.tree.norm(grads[0])) != float(optax.tree.norm(grads[1]))


@pytest.mark.slow
def test_the_loop_computes_once_what_both_derivatives_need():
    """What is learned takes no matrix product of its own, as for the alphas of Double CV."""
    config = OmegaConf.create({"layers": 1, "width": 4})
    images, rows = jnp.zeros((9, 28, 28), jnp.uint8), jnp.zeros((2, 3), jnp.int32)

    def products(estimator):
        recipe = vae_recipe(config, estimator)
        train = first_state(recipe, 0, images[:3], jnp.full((28, 28), 0.5))
        text = run_steps.lower(recipe, train, images, rows, 2).compile().as_text()
        return text.count(" dot(")

    assert products(fsb.double_cv()) == products(fsb.double_cv(learn=False)) > 0
