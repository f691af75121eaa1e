"""A bar on a terminal, lines elsewhere, and a speed that leaves compiling out."""

import io

import jax
import pytest

from fsb.runtime.progress import Progress


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_speed_leaves_the_first_chunk_out():
    clock = Clock()
    with Progress("p", 100, stream=io.StringIO(), clock=clock) as progress:
        assert progress.steps_per_second is None
        clock.now += 30.0  # compiling
        progress.update(10)
        assert progress.steps_per_second is None
        clock.now += 2.0
        progress.update(30)
        assert progress.steps_per_second == pytest.approx(10.0)


def test_lines_where_there_is_no_terminal():
    clock, out = Clock(), io.StringIO()
    with Progress("digits foust", 5000, start=1000, every=10.0, stream=out, clock=clock) as p:
        p.update(1100)
        for _ in range(25):
            clock.now += 1.0
            p.update(
                p.step + 100,
                train_elbo=-113.4567,
                **({"test_elbo": -115.0} if p.step < 1200 else {}),
            )
    lines = out.getvalue().splitlines()
    assert lines[0] == "digits foust | step 1100/5000 | ? steps/s | ? left"
    start = "digits foust | step 2100/5000 | 100 steps/s | 0:29 left"
    assert lines[1] == f"{start} | train_elbo -113.46 | test_elbo -115"
    assert lines[2].startswith("digits foust | step 3100/5000 | 100 steps/s | 0:19 left")
    assert lines[3].startswith("digits foust | step 3600/5000")  # the last word, at the end
    assert len(lines) == 4


def test_what_is_done_between_two_steps():
    clock, out = Clock(), io.StringIO()
    with Progress("p", 10, every=10.0, stream=out, clock=clock) as progress:
        for done in (0, 5):
            clock.now += 10.0
            progress.note(evaluating=f"test {done}/9")
        assert progress.steps_per_second is None
        progress.note(evaluating=None)
        progress.update(10)
    lines = [line.rpartition(" | ")[2] for line in out.getvalue().splitlines()]
    assert lines == ["evaluating test 0/9", "evaluating test 5/9", "? left"]


def test_the_end_is_not_told_twice():
    out = io.StringIO()
    with Progress("p", 10, every=0.0, stream=out) as progress:
        progress.update(10)
    assert len(out.getvalue().splitlines()) == 1


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    clock, out = Clock(), Terminal()
    with Progress("digits [foust]", 5000, stream=out, clock=clock) as progress:
        progress.update(1000, train_elbo=-120.25)
        clock.now += 10
        progress.update(2000, train_elbo=-119.5, test_elbo=-121.0)
    last = out.getvalue()
    for text in ("digits [foust]", "2000/5000", "100 steps/s", "0:30 left", "-119.5", "-121"):
        assert text in last


def test_a_narrow_terminal_loses_the_last_field_first(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    with Progress("digits foust", 5000, stream=out) as progress:
        progress.update(2000, train_elbo=-119.5, test_elbo=-121.0)
    assert "digits foust" in out.getvalue()
    assert "2000/5000" in out.getvalue()
    assert "-121" not in out.getvalue()


def test_hours():
    clock, out = Clock(), io.StringIO()
    with Progress("p", 10_000, every=0.0, stream=out, clock=clock) as progress:
        progress.update(0)
        clock.now += 100
        progress.update(100)
    assert "2:45:00 left" in out.getvalue()


def test_other_processes_are_silent(monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    for out in (io.StringIO(), Terminal()):
        with Progress("p", 10, every=0.0, stream=out) as progress:
            progress.update(5)
        assert out.getvalue() == ""
        assert progress.step == 5
