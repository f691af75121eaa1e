"""The processes of one run: they meet, agree, and notice when one of them is gone.

Before JAX starts, every process connects to process 0 at the coordinator's address. These
connections stay open: one that ends without a word means that its process has died, and all others
end with a line that says so, where JAX's collectives would wait.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable

import jax
import numpy as np

from fsb.errors import FsbError
from fsb.runtime.clusters import local_devices, place

WAIT_SECONDS = 60.0
"""How long the processes of a run wait for each other at the start."""

_peers: list[socket.socket] = []  # of this process, open until it ends


def join(
    coordinator: str | None, num_processes: int, process_id: int, cluster: str | None = None
) -> None:
    """Connects the processes of one run. Call before any computation; idempotent.

    Args:
      coordinator: "host:port" of process 0.
      num_processes: how many there are; with 1 nothing happens.
      process_id: the number of this one.
      cluster: what has started the processes, and knows these three; see ``clusters.place``.

    Raises:
      FsbError: if the others do not come within ``WAIT_SECONDS``; or as ``clusters.place``.
    """
    if jax.distributed.is_initialized():
        return
    if cluster is not None:
        coordinator, num_processes, process_id = place(cluster, coordinator)
    if num_processes == 1:
        return
    host, _, port = str(coordinator).rpartition(":")
    address = (host.strip("[]"), int(port))
    if process_id == 0:
        _peers.extend(_gathered(address, num_processes))
    else:
        _peers.append(_greeted(address, process_id, num_processes))
    jax.distributed.initialize(coordinator, num_processes, process_id, local_devices())
    for number, peer in enumerate(_peers, start=1):
        name = f"process {number if process_id == 0 else 0}"
        threading.Thread(target=_watch, args=(peer, name), daemon=True).start()


def leave() -> None:
    """Tells the others that this process ends as it should."""
    while _peers:
        peer = _peers.pop()
        peer.sendall(b"bye")
        peer.shutdown(socket.SHUT_WR)


def await_reason() -> None:
    """After an error of JAX: if it came because another process has died, this one ends here."""
    if _peers:
        time.sleep(2.0)  # until ``_watch`` has noticed


def largest(number: int) -> int:
    """The maximum of the processes' numbers. Every process must call it."""
    if jax.process_count() == 1:
        return number
    from jax.experimental.multihost_utils import process_allgather

    return int(np.max(process_allgather(np.array(number))))


def agree(valid: bool) -> bool:
    """Whether all processes say so. Every process must call it."""
    return not largest(not valid)


def from_first(make: Callable[[], str]) -> str:
    """The text that ``make`` returns in process 0, in every process.

    Raises:
      FsbError: in every process, if ``make`` raises it in process 0.
    """
    if jax.process_count() == 1:
        return make()
    text = ""
    if jax.process_index() == 0:
        try:
            text = "+" + make()
        except FsbError as error:
            text = f"-{error}"
    from jax.experimental.multihost_utils import broadcast_one_to_all

    length = int(broadcast_one_to_all(np.array(len(text.encode()))))
    data = np.frombuffer(text.encode().ljust(length, b"\0")[:length], np.uint8)
    text = bytes(broadcast_one_to_all(data)).decode()
    if text.startswith("-"):
        raise FsbError(text[1:])
    return text[1:]


def _gathered(address: tuple[str, int], num_processes: int) -> list[socket.socket]:
    """Process 0: one connection to each of the others, in the order of their numbers."""
    end = time.monotonic() + WAIT_SECONDS
    found: dict[int, socket.socket] = {}
    try:
        listener = socket.create_server(("", address[1]), reuse_port=False)
    except OSError as error:
        raise FsbError(f"distributed.coordinator: port {address[1]}: {error.strerror}") from error
    with listener:
        listener.settimeout(1.0)
        said = False
        while len(found) < num_processes - 1:
            missing = sorted(set(range(1, num_processes)) - found.keys())
            names = f"process{'es' * (len(missing) > 1)} {', '.join(map(str, missing))}"
            if time.monotonic() > end:
                raise FsbError(f"distributed: {names} did not come within {WAIT_SECONDS:.0f} s")
            try:
                peer, _ = listener.accept()
                peer.settimeout(5.0)
                number, count = (int(word) for word in peer.recv(64).split())
            except TimeoutError:
                said = said or _say(f"waiting for {names}")
                continue
            except (OSError, ValueError):
                continue  # somebody else
            if count != num_processes or not 0 < number < num_processes or number in found:
                peer.sendall(b"refused")
                peer.close()
                raise FsbError(
                    f"distributed: a process says that it is number {number} of {count}; this run "
                    f"has {num_processes}, each number once"
                )
            found[number] = peer
    for peer in found.values():
        peer.sendall(b"start")
        peer.settimeout(None)
    return [found[number] for number in sorted(found)]


def _greeted(address: tuple[str, int], process_id: int, num_processes: int) -> socket.socket:
    """Another process: its connection to process 0, once all have come."""
    end = time.monotonic() + WAIT_SECONDS
    where = f"{address[0]}:{address[1]}"
    said = False
    while True:
        try:
            peer = socket.create_connection(address, timeout=5.0)
            break
        except OSError as error:
            if time.monotonic() > end:
                raise FsbError(
                    f"distributed.coordinator: no process 0 at {where} within {WAIT_SECONDS:.0f} s"
                ) from error
            said = said or _say(f"waiting for process 0 at {where}")
            time.sleep(0.3)
    peer.sendall(f"{process_id} {num_processes}".encode())
    peer.settimeout(WAIT_SECONDS + 5)
    try:
        answer = peer.recv(16)
    except OSError:
        answer = b""
    if answer != b"start":
        raise FsbError(f"distributed: process 0 at {where} did not start the run")
    peer.settimeout(None)
    return peer


def _watch(peer: socket.socket, name: str) -> None:
    """Ends this process if the connection ends without a word."""
    try:
        word = peer.recv(16)
    except OSError:
        word = b""
    if word != b"bye" and _peers:
        # In one piece: XLA may be writing its own account.
        sys.stderr.write(f"fsb: error: {name} of this run has ended; resume=... goes on\n")
        sys.stderr.flush()
        os._exit(2)


def _say(text: str) -> bool:
    sys.stderr.write(f"fsb: {text}\n")
    sys.stderr.flush()
    return True
