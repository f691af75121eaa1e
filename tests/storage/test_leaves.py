"""The digest sees every bit, every name and every type."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsb.storage.leaves import named_leaves, sha256, signature


def sha(state):
    return sha256(named_leaves(state))


BASE = {"w": np.array([1.0, 2.0], np.float32), "n": np.int32(3)}


@pytest.mark.parametrize(
    "other",
    [
        {"w": np.array([1.0, np.nextafter(np.float32(2), np.float32(3))], np.float32), "n": 3},
        {"v": BASE["w"], "n": BASE["n"]},
        {"w": BASE["w"][None], "n": BASE["n"]},
        {"w": BASE["w"].view(np.int32), "n": BASE["n"]},
        {"w": BASE["w"], "n": np.int64(3)},
        {"w": BASE["w"]},
    ],
)
def test_differs(other):
    assert sha(BASE) != sha(other)


def test_is_the_same_for_the_same_bits():
    moved = {"n": np.asarray(3, np.int32), "w": jnp.asarray([1.0, 2.0])}
    assert sha(BASE) == sha(moved)
    fortran = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    assert sha(fortran) == sha(np.ascontiguousarray(fortran))
    assert sha({"w": np.array([0.0])}) != sha({"w": np.array([-0.0])})


def test_does_not_depend_on_the_sharding():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x = jnp.arange(16.0).reshape(8, 2)
    split = jax.device_put(x, jax.NamedSharding(mesh, jax.P("data")))
    assert sha(split) == sha(x)


def test_keys_and_their_generators():
    assert sha(jax.random.key(0)) != sha(jax.random.key(1))
    assert sha(jax.random.key(0)) != sha(jax.random.key_data(jax.random.key(0)))
    assert signature(named_leaves(jax.random.key(0, impl="rbg"))) == {"state": "key<rbg>[]"}


def test_abstract_states_have_the_same_signature():
    state = {"w": jnp.ones((2, 3), jnp.bfloat16), "key": jax.random.split(jax.random.key(0))}
    abstract = jax.eval_shape(lambda: state)
    assert signature(named_leaves(abstract)) == signature(named_leaves(state))
