"""Signals: noted, obeyed the second time, held back while a checkpoint is written."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fsb.runtime import interrupts, startup
from fsb.runtime.interrupts import SIGNALS, keyboard, raise_lost
from runs import one_device


class Obeyed(Exception):
    """Raised by the handler that was there before."""


@pytest.fixture(autouse=True)
def before():
    """Handlers of ours, in place of those that would end the tests."""

    def obey(number, frame):
        raise Obeyed(number)

    kept = {number: signal.signal(number, obey) for number in SIGNALS}
    yield obey
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_the_signals():
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT} == {*SIGNALS}


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_is_noted_and_the_second_obeyed(number, before):
    with interrupts.interrupts() as asked:
        assert asked.agreed() == 0
        signal.raise_signal(number)
        assert asked.agreed() == number
        with pytest.raises(Obeyed):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", SIGNALS)
def test_none_is_obeyed_during_a_save(number, before):
    saved = []
    with interrupts.interrupts() as asked:
        signal.raise_signal(number)

        def save():
            with asked.saving():
                signal.raise_signal(number)
                signal.raise_signal(signal.SIGTERM)
                saved.append("whole")

        with pytest.raises(Obeyed, match=str(int(signal.SIGTERM))):
            save()  # the last one is obeyed when the checkpoint is written
    assert saved == ["whole"]


def test_the_first_signal_during_a_save_is_only_noted(before):
    with interrupts.interrupts() as asked:
        with asked.saving():
            signal.raise_signal(signal.SIGHUP)
        assert asked.agreed() == signal.SIGHUP
    assert {signal.getsignal(number) for number in SIGNALS} == {before}


def test_another_thread_sets_no_handler(before):
    def run():
        with interrupts.interrupts() as asked, keyboard():
            found.append((asked.signal, signal.getsignal(signal.SIGINT)))

    found = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(0, before)]


class Lost:
    """An object whose finalizer is interrupted."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)


def test_ctrl_c_that_python_drops_is_raised_later(before, monkeypatch):
    reports = []
    monkeypatch.setattr(sys, "unraisablehook", reports.append)
    with keyboard():
        raise_lost()
        Lost()  # its exception is dropped
        with pytest.raises(KeyboardInterrupt):
            raise_lost()
        with pytest.raises(KeyboardInterrupt), interrupts.interrupts():
            pytest.fail("the run began")
    assert reports == []
    assert signal.getsignal(signal.SIGINT) is before
    with keyboard():
        raise_lost()  # that was another program


def test_ctrl_c_is_an_exception():
    with pytest.raises(KeyboardInterrupt), keyboard():
        signal.raise_signal(signal.SIGINT)


def test_other_errors_of_finalizers_are_still_reported(monkeypatch):
    reports = []
    monkeypatch.setattr(sys, "unraisablehook", reports.append)

    class Broken:
        def __del__(self):
            raise ValueError

    with keyboard():
        Broken()
    assert [report.exc_type for report in reports] == [ValueError]


def test_the_start_of_a_program_is_not_that_of_another():
    """These tests import fsb too."""
    assert signal.getsignal(signal.SIGINT) is not startup.end_at_once


@pytest.mark.slow
def test_ctrl_c_at_the_start_is_one_line(tmp_path):
    command = [sys.executable, "-m", "fsb.train", "max_steps=1000000", "bound_samples=[]"]
    environment = {**os.environ, "XLA_FLAGS": one_device()}
    run = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
    )
    maps = Path(f"/proc/{run.pid}/maps")
    while "jaxlib" not in maps.read_text():  # it imports
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (130, "fsb: interrupted\n")
    assert not list(tmp_path.iterdir())


def test_garbage_is_collected_once_a_program_has_its_imports():
    gc.disable()
    try:
        startup.imported()
        assert gc.isenabled()
    finally:
        gc.enable()
