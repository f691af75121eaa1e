"""What holds for every estimator, whatever its formula: one row of ``contract.py`` buys it all."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracle as o
import pytest
from contract import BERNOULLI_ROWS, CATEGORICAL, estimate, named
from contract import ROWS as ALL_ROWS
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import fsb
from fsb.sites import ancestral, bind, replay

# Of those for categorical sites this would test again what they do at Boolean ones.
ROWS = [row for row in ALL_ROWS if row.serves != CATEGORICAL]
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
BATCH = 8
PARAMS = {
    "eta": jnp.float32(RNG.normal(size=(BATCH, 2))),
    "scale": jnp.float32(RNG.uniform(0.5, 2, (BATCH, 2))),
    "w": jnp.float32(RNG.normal(size=(2, 2))),
    "probe": jnp.zeros((2, BATCH, 2)),
}
SAMPLED = pytest.mark.parametrize(
    "row",
    **named(
        [row for row in ROWS if row.forward not in ("exact", "several")],
        slow_repeats=True,
        slow_but_few=True,
    ),
)
EVERY = pytest.mark.parametrize("row", **named(ROWS, slow_repeats=True, slow_but_few=True))
LOCAL = pytest.mark.parametrize(
    "row", **named([r for r in ROWS if r.make().rule or r.forward == "exact"], slow_repeats=True)
)
PICKY = pytest.mark.parametrize(
    "row", **named([row for row in ROWS if len(row.serves) < 3], slow_repeats=True)
)
EVERY_BERNOULLI = pytest.mark.parametrize(
    "row", **named(BERNOULLI_ROWS, slow_repeats=True, slow_but_few=True)
)


def boolean_loss(params, sample):
    """Two layers; logits of each example's own, weights shared; parameters in the loss as well.

    The gradient of a probe is the value of a layer.
    """
    z = sample("z0", fsb.Bernoulli(-0.5, 0.5), params["eta"])
    y = sample("z1", fsb.Bernoulli(), z @ params["w"])
    return finish(params, z, y)


def normal_loss(params, sample):
    z = sample("z0", fsb.Normal(), (params["eta"], params["scale"]))
    y = sample("z1", fsb.Normal(), (z @ params["w"], params["scale"] ** 2))
    return finish(params, z, y)


def finish(params, z, y):
    probes = (params["probe"] * jax.lax.stop_gradient(jnp.stack([z, y]))).sum((0, 2))
    return (jnp.sin(y + z) * params["scale"] + y * y[:, ::-1]).sum(-1) + probes


def loss_for(row):
    return normal_loss if "Normal" in row.serves else boolean_loss


@functools.cache
def compiled(row):
    return jax.jit(estimate(row.make(), loss_for(row)))


def assert_close(a, b, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, atol), a, b)


def differ(a, b):
    return any((x != y).any() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.slow
@SAMPLED
def test_the_value_is_the_loss_at_the_values_handed_on(row):
    value, grads = compiled(row)(PARAMS, KEY)
    values = BATCH * grads["probe"]
    plain, sites = bind(loss_for(row), PARAMS)(replay({f"z{i}": z for i, z in enumerate(values)}))
    np.testing.assert_allclose(value, plain.mean(), rtol=1e-5)
    for site in sites if loss_for(row) is boolean_loss else ():
        bit = np.asarray(site.dist.decode(site.z))
        if row.forward in ("hard", "thresholded"):
            assert set(bit.ravel()) <= {0, 1}
        if row.forward == "thresholded":
            np.testing.assert_array_equal(bit, site.eta >= 0)
        if row.forward in ("noisy", "relaxed"):
            assert ((bit > 0) & (bit < 1)).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["st", "darn", "zgr", "reinmax", "mve", "gst", "gumbel_rao-0.5", "pathwise"]
)
def test_hard_draws_are_those_of_the_plain_run(name):
    (row,) = (row for row in ROWS if row.name == name)
    plain, _ = bind(loss_for(row), PARAMS)(ancestral(KEY))
    np.testing.assert_allclose(compiled(row)(PARAMS, KEY)[0], plain.mean(), rtol=1e-5)


@pytest.mark.slow
@EVERY
def test_a_pure_function_of_params_and_key(row):
    jitted, other = compiled(row), jax.random.key(1)
    found = jitted(PARAMS, KEY)
    assert not differ(found, jitted(PARAMS, KEY))
    noisy = row.forward not in ("thresholded", "exact")
    assert differ(found, jitted(PARAMS, other)) == noisy
    assert jax.tree.map(jnp.shape, found[1]) == jax.tree.map(jnp.shape, PARAMS)


@pytest.mark.slow
@pytest.mark.parametrize("row", **named(ROWS))
def test_compiled_or_not(row):
    eager = estimate(row.make(), loss_for(row))(PARAMS, KEY)
    assert_close(compiled(row)(PARAMS, KEY), eager)


@pytest.mark.slow
@EVERY
def test_vmap_over_keys_is_a_loop(row):
    keys = jax.random.split(KEY, 3)
    one = estimate(row.make(), loss_for(row))
    many = jax.jit(jax.vmap(one, (None, 0)))(PARAMS, keys)
    for i, key in enumerate(keys):
        assert_close(jax.tree.map(lambda x: x[i], many), compiled(row)(PARAMS, key))  # noqa: B023


@pytest.mark.slow
@LOCAL
def test_gradients_add_up(row):
    """Of a sum of losses that share their draws: the sum of the gradients."""
    loss = loss_for(row)

    def tripled(params, sample):
        return 3 * loss(params, sample) + params["scale"].sum(-1)

    value, grads = compiled(row)(PARAMS, KEY)
    value3, grads3 = jax.jit(estimate(row.make(), tripled))(PARAMS, KEY)
    np.testing.assert_allclose(value3, 3 * value + PARAMS["scale"].sum() / BATCH, rtol=1e-5)
    grads = jax.tree.map(lambda g: 3 * g, grads)
    assert_close(grads3, {**grads, "scale": grads["scale"] + 1 / BATCH}, atol=1e-5)


@EVERY
def test_one_example_with_one_unit_in_an_optax_loop(row):
    """Every estimator finds its way down a linear loss, in a user's own loop."""

    def loss(params, sample):
        if "Normal" in row.serves:
            return 3 * sample("z", fsb.Normal(), (params["eta"], jnp.ones((1, 1))))[:, 0]
        return 3 * sample("z", fsb.Bernoulli(-1.0, 1.0), params["eta"])[:, 0]

    start = {"eta": jnp.full((1, 1), 0.5)}
    optimizer = optax.adam(0.1)

    @jax.jit
    def step(carry, key):
        params, state = carry
        value, grads = estimate(row.make(), loss)(params, key)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), value

    (params, _), values = jax.lax.scan(
        step, (start, optimizer.init(start)), jax.random.split(KEY, 40)
    )
    assert values.shape == (40,)
    assert float(params["eta"][0, 0]) < -1.5


@pytest.mark.slow
@EVERY
def test_gradients_have_the_dtype_of_the_params(row):
    one = estimate(row.make(), loss_for(row))
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: jnp.asarray(x, "float64"), PARAMS)
        wide = jax.eval_shape(one, params, KEY)
    coarse = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PARAMS)
    fine = jax.tree.map(lambda x: x.astype(jnp.float32), coarse)
    results = jax.jit(one)(coarse, KEY), compiled(row)(fine, KEY)
    for result, dtype in zip((*results, wide), ("bfloat16", "float32", "float64"), strict=True):
        assert {str(x.dtype) for x in jax.tree.leaves(result)} == {dtype}
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        assert np.abs(a.astype(jnp.float32) - b).max() < 0.05 * max(1, np.abs(b).max())


@pytest.mark.slow
@EVERY_BERNOULLI
def test_certain_units(row):
    """Finite everywhere, and no gradient where a unit is certain (but for the identity's)."""
    encodings = (o.ZERO_ONE, o.QUARTER, (-0.42, 0.42))
    logits = jnp.float32([[1000, -1000], [np.inf, -np.inf], [np.inf, 0.5]])
    params = {str(e): logits for e in encodings}

    def loss(params, sample):
        total = 0.0
        for encoding in encodings:
            dist, eta = fsb.Bernoulli(*encoding), params[str(encoding)]
            z = sample(str(encoding), dist, eta)
            total = total + jnp.sin(3 * z).sum(-1) * (1 + total)
            if row.forward == "hard":
                total = total + dist.log_prob(eta, z)[:, 0]
        above = 1000 * jnp.sign(logits) * (1 + z**2)
        return total + sample("above", fsb.Bernoulli(), above).sum(-1)

    keys = jax.random.split(KEY, 16)
    value, grads = jax.jit(jax.vmap(estimate(row.make(), loss), (None, 0)))(params, keys)
    assert np.isfinite(value).all()
    for g in jax.tree.leaves(grads):
        certain, uncertain = g.reshape(16, 6)[:, :5], g[:, 2, 1]
        assert np.isfinite(uncertain).all()
        assert uncertain.any()
        if row.name == "deterministic_st-identity":
            assert np.isfinite(certain).all()
        else:
            np.testing.assert_array_equal(certain, 0)


@pytest.mark.slow
@EVERY
def test_sharded_over_eight_devices(row):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
    axes = {"eta": ("batch",), "scale": ("batch",), "w": (), "probe": (None, "batch")}
    shards = {
        name: jax.device_put(PARAMS[name], NamedSharding(mesh, PartitionSpec(*axis)))
        for name, axis in axes.items()
    }
    value, grads = compiled(row)(shards, KEY)
    assert len(grads["eta"].sharding.device_set) == 8
    assert not grads["eta"].sharding.is_fully_replicated
    assert_close((value, grads), compiled(row)(PARAMS, KEY))


@pytest.mark.slow
@PICKY
def test_a_site_it_cannot_serve_is_named(row):
    x = jnp.ones((2, 2, 2))
    etas = {"Bernoulli": x, "Categorical": x, "Normal": (x, x)}
    wrong = next(name for name in ("Normal", "Categorical", "Bernoulli") if name not in row.serves)

    def loss(params, sample):
        z = sample("wrong", getattr(fsb, wrong)(), etas[wrong])
        return params + z.sum((-1, -2))

    with pytest.raises(fsb.FsbError) as caught:
        estimate(row.make(), loss)(jnp.zeros(2), KEY)
    message = str(caught.value)
    assert "\n" not in message
    assert f"not {wrong}" in message or f"{wrong} has infinitely many values" in message
    assert "site 'wrong'" in message
