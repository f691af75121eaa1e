"""The processes of a run: they meet, agree, and none waits for one that does not come."""

import os
import signal
import socket
import threading
import time

import jax
import pytest

from fsb.errors import FsbError
from fsb.runtime import processes
from fsb.training import launch
from runs import TINY, free_port, pair, rows, start, state


@pytest.fixture
def soon(monkeypatch):
    """Waits are short; JAX is not started, and nothing is left open."""
    monkeypatch.setattr(jax.distributed, "initialize", lambda *address: None)
    monkeypatch.setattr(processes, "WAIT_SECONDS", 1.0)
    monkeypatch.setattr(processes, "_peers", [])


@pytest.mark.slow
def test_no_process_0(soon, capfd):
    port = free_port()
    with pytest.raises(FsbError, match=rf"no process 0 at 127.0.0.1:{port} within 1 s"):
        processes.join(f"127.0.0.1:{port}", 2, 1)
    assert capfd.readouterr().err == f"fsb: waiting for process 0 at 127.0.0.1:{port}\n"


@pytest.mark.slow
@pytest.mark.parametrize(("count", "names"), [(2, "process 1"), (3, "processes 1, 2")])
def test_no_other_process(count, names, soon, capfd):
    with pytest.raises(FsbError, match=f"{names} did not come within 1 s"):
        processes.join(f"127.0.0.1:{free_port()}", count, 0)
    assert capfd.readouterr().err == f"fsb: waiting for {names}\n"


def test_a_port_in_use(soon):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FsbError, match=rf"coordinator: port {port}: Address already in use"):
            processes.join(f"127.0.0.1:{port}", 2, 0)


def calling(port, message):
    """Another process that connects to process 0 and says something; what it is answered."""
    answers = []

    def call():
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
                    peer.sendall(message)
                    answers.append(peer.recv(16))
                    return
            except ConnectionRefusedError:
                time.sleep(0.02)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread, answers


@pytest.mark.parametrize("message", [b"1 3", b"2 2", b"0 2", b"-1 2"])
def test_a_process_of_another_run(message, soon, monkeypatch):
    monkeypatch.setattr(processes, "_watch", lambda peer, name: None)  # were it let in
    port = free_port()
    thread, answers = calling(port, message)
    number, count = message.decode().split()
    with pytest.raises(FsbError, match=f"it is number {number} of {count}; this run has 2"):
        processes.join(f"127.0.0.1:{port}", 2, 0)
    thread.join(5)
    assert answers == [b"refused"]


@pytest.mark.slow
@pytest.mark.parametrize("message", [b"GET / HTTP/1.1", b"1"])
def test_somebody_else_who_connects(message, soon):
    port = free_port()
    calling(port, message)
    with pytest.raises(FsbError, match="process 1 did not come"):
        processes.join(f"127.0.0.1:{port}", 2, 0)


def test_process_0_that_refuses(soon):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def refuse():
            peer, _ = server.accept()
            peer.recv(64)
            peer.close()

        threading.Thread(target=refuse, daemon=True).start()
        with pytest.raises(FsbError, match=rf"process 0 at 127.0.0.1:{port} did not start"):
            processes.join(f"127.0.0.1:{port}", 2, 1)


class Ended(Exception):
    """Stands for the end of this process."""


@pytest.mark.parametrize("says_bye", [True, False])
def test_a_connection_that_ends(says_bye, soon, monkeypatch, capsys):
    def end(code):
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(processes, "_peers", [ours])
    if says_bye:
        theirs.sendall(b"bye")
    theirs.close()
    if says_bye:
        processes._watch(ours, "process 1")
        assert capsys.readouterr().err == ""
    else:
        with pytest.raises(Ended, match="2"):
            processes._watch(ours, "process 1")
        told = "fsb: error: process 1 of this run has ended; resume=... goes on\n"
        assert capsys.readouterr().err == told
    ours.close()


def test_a_process_says_when_it_leaves(soon, monkeypatch):
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(processes, "_peers", [ours])
    processes.leave()
    assert theirs.recv(16) == b"bye"
    assert processes._peers == []
    theirs.close()


@pytest.mark.parametrize(
    ("number", "first", "expected"),
    [
        (1, {"seed": 0, "model": {"width": 8}}, None),
        (1, {"seed": 1, "model": {"width": 8}}, "seed: is 0 in process 1 and 1 in process 0"),
        (1, {"seed": 1, "model": {"width": 9}}, "model.width: is 8 in process 1 and 9 in"),
        (1, {"seed": 0, "model": {}}, "model.width: is 8 in process 1 and absent in process 0"),
        (0, None, "another process of this run has other settings"),
    ],
)
def test_settings_are_compared(number, first, expected, monkeypatch):
    mine = {"seed": 0, "model": {"width": 8}, "distributed": {"process_id": number}}
    monkeypatch.setattr(jax, "process_index", lambda: number)
    sent = launch.json.dumps(launch._flat(first or mine | {"distributed": None}))
    monkeypatch.setattr(launch, "from_first", lambda make: make() if number == 0 else sent)
    monkeypatch.setattr(launch, "largest", lambda count: max(count, number == 0))
    if expected is None:
        launch.require_same(mine)
        return
    with pytest.raises(FsbError, match=expected):
        launch.require_same(mine)


def ended(run, seconds=60):
    """The lines on stderr of a process that must end soon, without progress and waiting."""
    _, err = run.communicate(timeout=seconds)
    usual = ("digits ", "fsb: waiting for process")
    return [line for line in err.splitlines() if line and not line.startswith(usual)]


@pytest.mark.slow
def test_different_settings_are_refused_by_both(tmp_path):
    first, second = pair(*TINY, "hydra.run.dir=run", of_each=("seed=0", "seed=1"), cwd=tmp_path)
    (line,), (other,) = ended(first), ended(second)
    assert (first.returncode, second.returncode) == (2, 2)
    assert line == "fsb: error: distributed: another process of this run has other settings"
    assert other == "fsb: error: seed: is 1 in process 1 and 0 in process 0"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_one_of_two_dies_and_the_other_goes_on_alone(tmp_path):
    seldom = ("max_steps=1000000", "eval_every=1000000", "steps_per_call=5", "checkpoint_every=10")
    runs = [tmp_path / "0" / "run", tmp_path / "1" / "run"]
    for run in runs:
        run.parent.mkdir()
    pairs = [pair(*TINY, *seldom, f"hydra.run.dir={run}", cwd=run.parent) for run in runs]
    for dead, (run, both) in enumerate(zip(runs, pairs, strict=True)):
        one_dies(dead, run, both)


def one_dies(dead, run, both):
    end = time.monotonic() + 100
    while not list(run.glob("checkpoints/[0-9]*[0-9]")):
        assert time.monotonic() < end
        assert [process.poll() for process in both] == [None, None]
        time.sleep(0.05)
    both[dead].send_signal(signal.SIGKILL)
    other = both[1 - dead]
    begun = time.monotonic()
    lines = ended(other)
    assert time.monotonic() - begun < 30
    ours = f"fsb: error: process {dead} of this run has ended; resume=... goes on"
    if dead == 1:
        assert (other.returncode, lines) == (2, [ours])
    else:  # XLA has its own account of the end of process 0, and may abort before ours is written
        theirs = "Terminating process because the JAX distributed service detected fatal errors"
        by_xla = other.returncode == -signal.SIGABRT and any(theirs in line for line in lines)
        assert by_xla or (other.returncode == 2 and ours in lines)
    both[dead].communicate()
    if dead == 0:
        return
    # the processes come from the command line, not from the saved file
    more = state(run)[0] + 10
    alone = start(f"resume={run}", f"max_steps={more}", "devices=1")
    assert ended(alone) == []
    assert alone.returncode == 0
    assert state(run)[0] == more
    assert [row["step"] for row in rows(run)] == [0, more]
