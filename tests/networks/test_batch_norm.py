"""S-ResNets with BatchNorm: statistics of the batch in training, measured and fixed afterwards."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import shaken

import fsb
from fsb import FsbError
from fsb.cli.program import preflight
from fsb.cli.schema import Train
from fsb.diagnostics import mixes_examples
from fsb.networks import BernoulliLikelihood, sresnet
from fsb.networks.convolutions import batch_norm
from fsb.objectives import elbo
from fsb.sites import ancestral, collect_sites, replay
from fsb.training.results import variables as to_evaluate
from fsb.training.setup import assemble, try_step

SMALL = {"widths": (2, 4), "stacks": (1, 1), "blocks": 1, "stochastic": (1,)}
RUN = (
    "model=sresnet_cifar_a", "model.widths=[2,2]", "model.stacks=[1,1]", "model.stochastic=[1]",
    "model.blocks=1", "model.norm=batch", "batch_size=4", "devices=1",
)  # fmt: skip


def net(**changes):
    return sresnet((4, 4), BernoulliLikelihood(), norm="batch", **SMALL, **changes)


@pytest.fixture(scope="module")
def trained():
    """Variables far from their start, and a batch."""
    rng = np.random.default_rng(1)
    x = jnp.float32(rng.integers(0, 2, (6, 4, 4)))
    init = jax.jit(lambda key: net().init(key, x, lambda name, dist, eta: dist.mean(eta)))
    made = dict(init(jax.random.key(0)))
    assert set(made) == {"params", "constants", "statistics"}
    del made["statistics"]
    return shaken(made), x


@pytest.mark.slow
def test_the_formula():
    x = jnp.float32(np.random.default_rng(0).normal(2, 3, (5, 3, 2, 4)))
    scale, bias = np.float32([1, 2, 3, 4]), np.float32([0, 1, 0, -1])
    norm = lambda x, *fixed: batch_norm(x, jnp.asarray(scale), jnp.asarray(bias), *fixed)
    out, (mean, variance) = norm(x)
    rows = np.float64(x).reshape(-1, 4)
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, rows.var(0), rtol=1e-5)
    expected = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5) * scale + bias
    np.testing.assert_allclose(out.reshape(-1, 4), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm(x[:2], (mean, variance))[0], out[:2])


@pytest.mark.slow
def test_what_is_measured_is_what_the_batch_was_normalised_with(trained, key):
    variables, x = trained

    @jax.jit
    def both(variables):
        measure = lambda sample: net().apply(variables, x, sample, mutable=["statistics"])
        (evidence, more), sites = collect_sites(measure, ancestral(key))
        values = replay({site.name: site.z for site in sites})
        again = lambda part: collect_sites(
            lambda sample: net().apply({**variables, **more}, part, sample),
            values if part is x else replay({site.name: site.z[:2] for site in sites}),
        )[0]
        return evidence, again(x), again(x[:2])

    batch, fixed, two = both(variables)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)
    jax.tree.map(close, batch, fixed)
    jax.tree.map(lambda a, b: close(a, b[:2]), two, fixed)  # one example no longer sees another


@pytest.mark.slow
def test_examples_mix_in_training_alone(trained, key):
    variables, x = trained

    def loss(params, sample):
        return elbo()(net().apply({**variables, "params": params}, x, sample))

    assert mixes_examples(loss, variables["params"], key)


@pytest.mark.slow
def test_computed_anew_it_has_the_same_gradient(trained, key):
    variables, x = trained

    def gradient(model):
        loss = lambda params, sample: elbo()(
            model.apply({**variables, "params": params}, x, sample)
        )
        return jax.jit(fsb.value_and_grad(fsb.st(), loss))(variables["params"], key)

    same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    jax.tree.map(same, gradient(net()), gradient(net(remat=True)))


@pytest.mark.slow
def test_only_local_estimators_train_it():
    (config,) = preflight("train", [*RUN, "estimator=disarm"], Train)
    with pytest.raises(FsbError, match="only local estimators, such as st, darn and"):
        try_step(assemble(config))


@pytest.mark.slow
def test_a_run_evaluates_with_fixed_statistics():
    (config,) = preflight("train", [*RUN, "estimator=darn"], Train)
    parts = assemble(config)
    try_step(parts)
    found = to_evaluate(parts, parts.first_state(), 64)
    moments = jax.tree.leaves(found["statistics"])
    assert moments
    assert all(np.isfinite(leaf).all() for leaf in moments)
    x = jnp.zeros((3, 8, 8))
    loss = lambda eta, sample: elbo()(parts.recipe.model.apply(found, x, sample))
    assert not mixes_examples(loss, None, jax.random.key(0))
