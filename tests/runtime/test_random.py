"""The noise is that of jax.random, bit for bit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fsb.runtime import random

SHAPES = ((), (1,), (7,), (0,), (3, 5), (129,), (2, 3, 5), (1, 1001))


def same(found, expected):
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bits_and_uniform_are_those_of_jax(shape):
    key = jax.random.key(2**40 + 123)
    same(random.bits(key, shape), jax.random.bits(key, shape))
    u = random.uniform(key, shape)
    assert (u.dtype, u.shape) == (jnp.float32, shape)
    same(u, jax.random.uniform(key, shape))


@pytest.mark.slow
def test_the_written_out_generator_is_what_runs_here():
    key = jax.random.key(5)
    text = jax.jit(random.bits, static_argnums=1).lower(key, (8,)).as_text()
    assert "threefry2x32" not in text
    same(random._threefry(jax.random.key_data(key), (257,)), jax.random.bits(key, (257,)))


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 2**31 + 5, 2**32 - 1])
def test_folded_keys_are_those_of_jax(number):
    fold, key, legacy = jax.random.fold_in, jax.random.key(2**40 + 5), jax.random.PRNGKey(17)
    data = jax.random.key_data
    same(data(random.fold_in(key, number)), data(fold(key, number)))
    same(random.fold_in(legacy, number), fold(legacy, number))
    keys = jax.random.split(key, 5)
    folded = jax.vmap(lambda key: random.fold_in(key, number))(keys)
    same(data(folded), data(jax.vmap(lambda key: fold(key, number))(keys)))
    other = jax.random.key(3, impl="rbg")
    same(data(random.fold_in(other, number)), data(fold(other, number)))


@pytest.mark.slow
def test_split_keys_are_those_of_jax():
    key, legacy, data = jax.random.key(2**40 + 5), jax.random.PRNGKey(17), jax.random.key_data
    same(data(random.split(key, 5)), data(jax.random.split(key, 5)))
    same(random.split(legacy, 2), jax.random.split(legacy, 2))
    keys = jax.random.split(key, 3)
    split = jax.jit(jax.vmap(lambda key: random.split(key, 4)))(keys)
    same(data(split), data(jax.vmap(lambda key: jax.random.split(key, 4))(keys)))
    other = jax.random.key(3, impl="rbg")
    same(data(random.split(other, 3)), data(jax.random.split(other, 3)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "draw", [(random.bits, jax.random.bits), (random.uniform, jax.random.uniform)]
)
def test_under_every_transformation(draw):
    ours, theirs = draw
    key, keys = jax.random.key(1), jax.random.split(jax.random.key(2), 6)
    legacy = jax.random.PRNGKey(17)
    same(ours(legacy, (33,)), theirs(legacy, (33,)))
    same(jax.jit(lambda k: ours(k, (5, 3)))(key), theirs(key, (5, 3)))
    batched = jax.vmap(lambda k: theirs(k, (3, 5)))(keys)
    same(jax.vmap(lambda k: ours(k, (3, 5)))(keys), batched)
    same(jax.lax.map(lambda k: ours(k, (3, 5)), keys), batched)


def test_sharded_over_eight_devices():
    mesh = jax.make_mesh((8,), ("batch",), (AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("batch"))
    key = jax.random.key(3)
    found = jax.jit(lambda k: random.uniform(k, (16, 5)), out_shardings=rows)(key)
    assert len(found.sharding.device_set) == 8
    same(found, jax.random.uniform(key, (16, 5)))


@pytest.mark.slow
@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_other_generators_are_left_to_jax(impl):
    key = jax.random.key(3, impl=impl)
    same(random.bits(key, (4, 3)), jax.random.bits(key, (4, 3)))
    same(random.uniform(key, (4, 3)), jax.random.uniform(key, (4, 3)))


def test_the_old_layout_of_threefry_is_left_to_jax():
    key = jax.random.key(3)
    with jax.threefry_partitionable(False):
        old = jax.random.bits(key, (5,))
        same(random.bits(key, (5,)), old)
    assert (old != random.bits(key, (5,))).any()


def test_other_dtypes_are_left_to_jax():
    key = jax.random.key(3)
    with jax.enable_x64(True):
        for dtype in (jnp.float64, jnp.bfloat16):
            found = random.uniform(key, (9,), dtype)
            assert found.dtype == dtype
            same(found, jax.random.uniform(key, (9,), dtype))


@pytest.mark.slow
def test_float32_noise_where_float64_is_the_default():
    with jax.enable_x64(True):
        key = jax.random.key(3)
        same(random.uniform(key, (9,)), jax.random.uniform(key, (9,), jnp.float32))
