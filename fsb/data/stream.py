"""The order of the training images, and their transfer to the devices.

The order is a pure function of (key, absolute step): epoch e iterates over
``jax.random.permutation(fold_in(key, e), N)`` and drops its last, incomplete batch. Small data sets
reside on every device, where each step gathers its batch; of large ones a thread gathers batches
ahead, and with several processes each reads and holds only the examples of its own devices.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from fsb.errors import FsbError
from fsb.runtime.devices import Layout, layout
from fsb.types import Array

RESIDENT_BYTES = 512 * 2**20


@partial(jax.jit, static_argnames="num_examples")
def permutation(key: Array, epoch: Array | int, num_examples: int) -> Array:
    """The order of epoch ``epoch``: a permutation of 0..N-1, int32 [N]."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), num_examples).astype("int32")


def order(key: Array, num_examples: int, batch: int) -> Callable[[int], np.ndarray]:
    """``order(key, N, batch)(step) -> int32 [batch]``: the images of an absolute step.

    The permutation of an epoch is computed once on the device and cached, as it takes 20 ms for
    50000 images on a CPU core.

    Raises:
      FsbError: unless 1 <= batch <= N.
    """
    if not 1 <= batch <= num_examples:
        raise FsbError(f"batch={batch}: must lie between 1 and the {num_examples} training images")
    steps_per_epoch = num_examples // batch

    @lru_cache(maxsize=2)
    def epoch_order(epoch: int) -> np.ndarray:
        return np.asarray(permutation(key, epoch, num_examples))

    def rows(step: int) -> np.ndarray:
        epoch, position = divmod(step, steps_per_epoch)
        return epoch_order(epoch)[position * batch : (position + 1) * batch]

    return rows


def epoch_indices(
    key: Array, start_step: int, num_steps: int, num_examples: int, batch: int
) -> np.ndarray:
    """The images of ``num_steps`` steps from absolute step ``start_step``: int32 [steps, batch].

    Does not depend on how a run is divided into pieces.

    Raises:
      FsbError: unless 1 <= batch <= N.

    >>> whole = epoch_indices(jax.random.key(0), 0, 6, num_examples=10, batch=3)
    >>> bool((whole[4:] == epoch_indices(jax.random.key(0), 4, 2, 10, 3)).all())
    True
    >>> sorted(whole[:3].ravel().tolist()) == sorted(set(whole[:3].ravel().tolist()))
    True
    """
    rows = order(key, num_examples, batch)
    return np.stack([rows(step) for step in range(start_step, start_step + num_steps)])


def resident(images: np.ndarray, limit_bytes: int = RESIDENT_BYTES) -> bool:
    """Whether ``images`` are small enough to reside on the device."""
    return images.nbytes <= limit_bytes


class Resident:
    """Keeps all images on every device; see ``feed``."""

    def __init__(self, images: np.ndarray, key: Array, batch: int, chunk: int, mesh: Layout):
        self._rows = order(key, len(images), batch)
        self._images = mesh.replicate(images)
        self._shape, self._put = (chunk, batch), mesh.replicate

    def __call__(self, start: int, steps: int) -> tuple[Array, Array]:
        indices = np.zeros(self._shape, np.int32)
        for row in range(_fits(steps, self._shape[0])):
            indices[row] = self._rows(start + row)
        return self._images, self._put(indices)

    def __enter__(self) -> Resident:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


class Streamed:
    """Gathers batches in a thread that runs two chunks ahead; see ``feed``."""

    def __init__(self, images: np.ndarray, key: Array, batch: int, chunk: int, mesh: Layout):
        self._rows = order(key, len(images), batch)
        self._all, self._batch, self._chunk, self._mesh = images, batch, chunk, mesh
        self._own = mesh.own(batch)
        self._thread: threading.Thread | None = None
        self._next: int | None = None

    def __call__(self, start: int, steps: int) -> tuple[Array, None]:
        _fits(steps, self._chunk)
        if start != self._next:
            self._restart(start)
        # Allocate a new slab, as the device may still be reading the last one.
        slab = np.zeros((self._chunk, len(self._own), *self._all.shape[1:]), np.uint8)
        for step in range(steps):
            got = self._queue.get()
            if isinstance(got, BaseException):
                self.__exit__()
                raise got
            slab[step] = got
        self._next = start + steps
        return self._mesh.split_steps(slab, self._batch), None

    def _restart(self, start: int) -> None:
        self.__exit__()
        self._queue: queue.Queue[Any] = queue.Queue(2 * self._chunk)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(start, self._queue, self._stop), daemon=True
        )
        self._thread.start()

    def _run(self, step: int, out: queue.Queue[Any], stop: threading.Event) -> None:
        for item in self._gathered(step):
            while not stop.is_set():
                try:
                    out.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if stop.is_set() or isinstance(item, BaseException):
                return

    def _gathered(self, step: int) -> Iterator[np.ndarray | BaseException]:
        """Yields the batches from ``step`` on, endlessly; an error is yielded last."""
        try:
            while True:
                yield self._all[self._rows(step)[self._own]]
                step += 1
        except Exception as error:
            yield error

    def __enter__(self) -> Streamed:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
        self._thread = self._next = None


def feed(
    images: np.ndarray,
    key: Array,
    batch: int,
    chunk: int,
    limit_bytes: int = RESIDENT_BYTES,
    mesh: Layout | None = None,
) -> Resident | Streamed:
    """Builds the source of images for a training loop.

    ``feed(...)(start, steps) -> (pool, indices)`` with ``steps <= chunk``. If
    ``resident(images, limit_bytes)``, the pool is the whole data set uint8 [N, ...], a copy on each
    device, and step ``start + i`` trains on ``pool[indices[i]]``, with indices int32 [chunk,
    batch]. Otherwise it is the batches of this call uint8 [chunk, batch, ...], the batch split over
    the devices; step ``start + i`` trains on ``pool[i]``, and the indices are None. Rows beyond
    ``steps`` only keep the shapes fixed, to avoid recompilation. The images of a step are the same
    in both cases.

    Use it in a ``with`` block, which stops the prefetching thread. An error in the thread is raised
    by the next call.

    Args:
      mesh: the devices; None is the first one.

    Raises:
      FsbError: unless 1 <= batch <= N and, when called, 1 <= steps <= chunk.
    """
    kind = Resident if resident(images, limit_bytes) else Streamed
    return kind(images, key, batch, chunk, mesh or layout(1))


def _fits(steps: int, chunk: int) -> int:
    if not 1 <= steps <= chunk:
        raise FsbError(f"steps={steps}: must lie between 1 and the chunk of {chunk}")
    return steps
