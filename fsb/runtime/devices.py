"""Devices: one mesh over the batch, everything else replicated."""

from __future__ import annotations

import os
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

    def own(self, count: int) -> np.ndarray:
        """Which of ``count`` examples of a batch the devices of this process hold."""
        held = self.batched.addressable_devices_indices_map((count,)).values()
        return np.unique(np.concatenate([np.arange(count)[index] for index in held]))

    def split_steps(self, array: np.ndarray, count: int) -> Array:
        """Batches of several steps [steps, count, ...], from the examples ``own(count)`` of each.

        Each process gives its own: no process holds them all.
        """
        sharding = NamedSharding(self.batched.mesh, PartitionSpec(None, *self.batched.spec))
        shape = (len(array), count, *array.shape[2:])
        return jax.make_array_from_process_local_data(sharding, array, shape)

    def gather(self, arrays: PyTree) -> PyTree:
        """Inside jit: replicates the arrays, so that every process can read them."""
        return jax.lax.with_sharding_constraint(arrays, self.replicated)


def layout(devices: int | None = None) -> Layout:
    """A mesh over the first ``devices`` devices of all processes, or over all devices if None.

    Raises:
      FsbError: if there are fewer devices, or a process of the run is left without one.
    """
    there = jax.devices()
    count = devices or len(there)
    if count > len(there):
        raise FsbError(f"devices={count}: only {len(there)} available ({there[0].device_kind})")
    if len({one.process_index for one in there[:count]}) < jax.process_count():
        raise FsbError(f"devices={count}: a process of this run would have none; leave it out")
    mesh = jax.make_mesh((count,), ("batch",), (AxisType.Auto,), devices=there[:count])
    return Layout(NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch")))


def free_memory() -> int:
    """Bytes that the first device can still take; those of the machine where it is a CPU."""
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def _put(array: Any, sharding: NamedSharding) -> Array:
    # Every process holds the whole array and fills the shards of its own devices.
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
