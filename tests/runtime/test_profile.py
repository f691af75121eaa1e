"""When a profile begins, ends and is told of; that it changes no number is a test of the run."""

import jax
import pytest

from fsb.errors import FsbError
from fsb.runtime.profile import Profile


@pytest.fixture
def events(monkeypatch):
    seen = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda *_, **__: seen.append("start"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: seen.append("stop"))
    return seen


def train(profile, chunks, seen):
    """The calls of a training in chunks that end after these steps."""
    with profile:
        for before, after in zip((0, *chunks), chunks, strict=False):
            profile.before(before)
            seen.append(after)
            profile.after(after, ())
    profile.tell()


@pytest.mark.parametrize(
    ("steps", "expected", "told"),
    [
        (None, [4, 8, 12, 14], None),
        (1, [4, "start", 8, "stop", 12, 14], "steps 5 to 8"),
        (4, [4, "start", 8, "stop", 12, 14], "steps 5 to 8"),
        (5, [4, "start", 8, 12, "stop", 14], "steps 5 to 12"),
        (99, [4, "start", 8, 12, 14, "stop"], "steps 5 to 14"),
    ],
)
def test_whole_chunks_after_the_first(steps, expected, told, events, tmp_path, capsys):
    train(Profile(tmp_path / "profile", steps), (4, 8, 12, 14), events)
    assert events == expected
    out = capsys.readouterr().out
    assert out.startswith(f"profile of {told}: {tmp_path}/profile; ") if told else out == ""
    assert out.count("\n") == bool(told)
    assert (tmp_path / "profile").exists() == bool(told)


def test_a_run_of_one_chunk_has_none(events, tmp_path, capsys):
    train(Profile(tmp_path, 3), (4,), events)
    assert events == [4]
    assert capsys.readouterr().out == (
        "profile: no chunk of steps followed the first, so none was traced\n"
    )


def test_an_error_ends_it(events, tmp_path):
    def train_and_fail():
        with Profile(tmp_path, 3) as profile:
            profile.before(0)
            profile.before(4)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train_and_fail()
    assert events == ["start", "stop"]


def test_a_folder_that_cannot_be_made_is_told_before_the_first_step(tmp_path):
    (tmp_path / "profile").write_text("mine")
    with (
        pytest.raises(FsbError, match=r"profile: cannot make .*: File exists"),
        Profile(tmp_path / "profile", 3),
    ):
        raise AssertionError


def test_a_full_disk_does_not_end_the_run(events, tmp_path, monkeypatch):
    def full():
        raise OSError("No space left on device")

    monkeypatch.setattr(jax.profiler, "stop_trace", full)
    with pytest.warns(UserWarning, match="profile: not written: No space left on device"):
        train(Profile(tmp_path, 3), (4, 8), events)
