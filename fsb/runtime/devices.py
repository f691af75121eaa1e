"""Devices and processes: one mesh over the batch, everything else replicated."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fsb.errors import FsbError
from fsb.types import Array, PyTree


class Layout(NamedTuple):
    """Placement of arrays on devices.

    replicated: a full copy on every device, for parameters, images and keys.
    batched: split across devices along the first axis, for the examples of a batch.
    """

    replicated: NamedSharding
    batched: NamedSharding

    @property
    def size(self) -> int:
        """Number of devices."""
        return self.replicated.mesh.size

    def replicate(self, array: Any) -> Array:
        return _put(array, self.replicated)

    def split(self, array: Any) -> Array:
        return _put(array, self.batched)

    def gather(self, arrays: PyTree) -> PyTree:
        """Inside jit: replicates the arrays, so that every process can read them."""
        return jax.lax.with_sharding_constraint(arrays, self.replicated)


def layout(devices: int | None = None) -> Layout:
    """A mesh over the first ``devices`` devices of all processes, or over all devices if None.

    Raises:
      FsbError: if there are fewer devices.
    """
    there = jax.devices()
    count = devices or len(there)
    if count > len(there):
        raise FsbError(f"devices={count}: only {len(there)} available ({there[0].device_kind})")
    mesh = jax.make_mesh((count,), ("batch",), (AxisType.Auto,), devices=there[:count])
    return Layout(NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch")))


def join(coordinator: str | None, num_processes: int, process_id: int) -> None:
    """Connects the processes of one run. Call before any computation; idempotent."""
    if num_processes > 1 and not jax.distributed.is_initialized():
        jax.distributed.initialize(coordinator, num_processes, process_id)


def largest(number: int) -> int:
    """The maximum of the processes' numbers. Every process must call it."""
    if jax.process_count() == 1:
        return number
    from jax.experimental.multihost_utils import process_allgather

    return int(np.max(process_allgather(np.array(number))))


def from_first(text: str) -> str:
    """Broadcasts the text of process 0 to every process; at most 4096 bytes."""
    if jax.process_count() == 1:
        return text
    from jax.experimental.multihost_utils import broadcast_one_to_all

    data = np.frombuffer(text.encode().ljust(4096, b"\0"), np.uint8)
    return bytes(broadcast_one_to_all(data)).rstrip(b"\0").decode()


def _put(array: Any, sharding: NamedSharding) -> Array:
    # Every process holds the whole array and fills the shards of its own devices.
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
