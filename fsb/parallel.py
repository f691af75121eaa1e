"""Devices and processes: one mesh over the batch, everything else replicated."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fsb.types import Array, FsbError


class Layout(NamedTuple):
    """Where arrays live.

    replicated: whole on every device: parameters, images, keys.
    batched: split over the devices along the first axis: the examples of a batch.
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


def layout(devices: int | None = None) -> Layout:
    """A mesh over the first ``devices`` devices of all processes; None takes all.

    Raises:
      FsbError: if there are fewer.
    """
    there = jax.devices()
    count = devices or len(there)
    if count > len(there):
        raise FsbError(f"devices={count}: there are {len(there)} ({there[0].device_kind})")
    mesh = jax.make_mesh((count,), ("batch",), (AxisType.Auto,), devices=there[:count])
    return Layout(NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch")))


def join(coordinator: str | None, num_processes: int, process_id: int) -> None:
    """Joins the processes of one run; must come before anything is computed. Idempotent."""
    if num_processes > 1 and not jax.distributed.is_initialized():
        jax.distributed.initialize(coordinator, num_processes, process_id)


def any_process(flag: bool) -> bool:
    """Whether the flag is up in any process; every process must ask."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental.multihost_utils import process_allgather

    return bool(np.any(process_allgather(np.array(flag))))


def _put(array: Any, sharding: NamedSharding) -> Array:
    # By callback, for every process holds the whole array and fills the shards of its devices.
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
