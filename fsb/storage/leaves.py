"""A state as a dictionary of named leaves: their types, their hash, and back to the state."""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import numpy as np

from fsb.types import PyTree


def named_leaves(state: PyTree) -> dict[str, Any]:
    """The leaves by their paths, in the order of the tree. Numbers become NumPy arrays.

    >>> named_leaves({"w": (3, 4.5)})
    {"state['w'][0]": array(3), "state['w'][1]": array(4.5)}
    """
    lazy = jax.Array | jax.ShapeDtypeStruct
    return {
        f"state{jax.tree_util.keystr(path)}": x if isinstance(x, lazy) else np.asarray(x)
        for path, x in jax.tree_util.tree_leaves_with_path(state)
    }


def signature(leaves: dict[str, Any]) -> dict[str, str]:
    """The type and shape of each array or ``jax.ShapeDtypeStruct``, by name.

    >>> signature(named_leaves({"w": np.zeros((2, 3), np.float32)}))
    {"state['w']": 'float32[2, 3]'}
    """
    return {name: f"{x.dtype}{list(x.shape)}" for name, x in leaves.items()}


def sha256(leaves: dict[str, Any]) -> str:
    """SHA-256 over the names, types, shapes and bytes of what ``named_leaves`` returns.

    If an array is sharded over processes, every process must call this; leaves are gathered one
    by one.
    """
    total = hashlib.sha256()
    for name, kind in sorted(signature(leaves).items()):
        total.update(f"{name} {kind}\n".encode())
        total.update(_bytes(leaves[name]))
    return total.hexdigest()


def restore_target(leaf: Any) -> Any:
    """The target that Orbax restores a leaf onto."""
    if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        return np.asarray(leaf)
    sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def storable(leaves: dict[str, Any]) -> dict[str, Any]:
    """The leaves that Orbax can store: it refuses arrays of size zero."""
    return {name: leaf for name, leaf in leaves.items() if leaf.size}


def empty_leaf(target: Any) -> Any:
    zeros = np.zeros(target.shape, target.dtype)
    return zeros if isinstance(target, np.ndarray) else jax.device_put(zeros, target.sharding)


def rebuilt(like: PyTree, leaves: dict[str, Any]) -> PyTree:
    """The state from its named leaves, with Python numbers where ``like`` has them."""
    arrays = jax.Array | jax.ShapeDtypeStruct | np.ndarray
    old, structure = jax.tree.flatten(like)
    new = [leaves[name] for name in named_leaves(like)]
    pairs = zip(old, new, strict=True)
    leaves_like = [n if isinstance(o, arrays) else type(o)(n) for o, n in pairs]
    return jax.tree.unflatten(structure, leaves_like)


def _bytes(leaf: Any) -> memoryview:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        from jax.experimental import multihost_utils

        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data
