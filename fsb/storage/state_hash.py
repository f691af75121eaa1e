"""A state as named leaves, and the SHA-256 of its bytes."""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import numpy as np

from fsb.types import PyTree


def named_leaves(state: PyTree) -> dict[str, Any]:
    """Leaf by path, in the order of the tree. Python and NumPy numbers become NumPy arrays.

    >>> named_leaves({"w": (3, 4.5)})
    {"state['w'][0]": array(3), "state['w'][1]": array(4.5)}
    """
    lazy = jax.Array | jax.ShapeDtypeStruct
    return {
        f"state{jax.tree_util.keystr(path)}": x if isinstance(x, lazy) else np.asarray(x)
        for path, x in jax.tree_util.tree_leaves_with_path(state)
    }


def signature(leaves: dict[str, Any]) -> dict[str, str]:
    """Type and shape by name, of arrays or of ``jax.ShapeDtypeStruct``.

    >>> signature(named_leaves({"w": np.zeros((2, 3), np.float32)}))
    {"state['w']": 'float32[2, 3]'}
    """
    return {name: f"{x.dtype}{list(x.shape)}" for name, x in leaves.items()}


def digest(leaves: dict[str, Any]) -> str:
    """SHA-256 over names, types, shapes and bytes: equal exactly where all bits are equal.

    Takes what ``named_leaves`` returns. Where an array is spread over processes every process
    must call it; it is gathered leaf by leaf.
    """
    total = hashlib.sha256()
    for name, kind in sorted(signature(leaves).items()):
        total.update(f"{name} {kind}\n".encode())
        total.update(_bytes(leaves[name]))
    return total.hexdigest()


def _bytes(leaf: Any) -> memoryview:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        from jax.experimental import multihost_utils

        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data
