"""A run folder is made once, and its summary says what produced it."""

import os
import platform
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest

from fsb.errors import FsbError
from fsb.storage import run_folder
from fsb.storage.provenance import device, git_commit, provenance, versions


def git(folder, *arguments):
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


def test_a_new_folder(tmp_path):
    folder = run_folder.new_run_folder(tmp_path / "a" / "b")
    assert folder == tmp_path / "a" / "b"
    assert folder.is_dir()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run_folder.new_run_folder(empty) == empty  # nothing is lost
    (folder / "metrics.csv").write_text("step\n")
    with pytest.raises(FsbError, match=r"is not empty: .*resume=") as caught:
        run_folder.new_run_folder(folder)
    assert "\n" not in str(caught.value)
    assert (folder / "metrics.csv").read_text() == "step\n"


def test_runs_that_start_at_once_do_not_meet(tmp_path):
    def start(number):
        return run_folder.new_run_folder(tmp_path / "run", exact=False)

    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(start, range(16)))
    assert sorted(folder.name for folder in folders) == sorted(
        ["run", *(f"run-{number}" for number in range(2, 17))]
    )


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FsbError, match="cannot be made: ") as caught:
            run_folder.new_run_folder(path)
        assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(FsbError, match=r"cannot be written: permission denied$"):
        run_folder.new_run_folder(tmp_path / "a")


def test_a_summary_is_added_to(tmp_path):
    assert run_folder.read_summary(tmp_path) == {}
    run_folder.write_summary(tmp_path, {"test_elbo": np.float32(-1.5), "steps": 10})
    total = run_folder.write_summary(tmp_path, {"test_bound_100": -1.25, "steps": 20})
    assert total == {"test_elbo": -1.5, "steps": 20, "test_bound_100": -1.25}
    assert run_folder.read_summary(tmp_path) == total


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_a_damaged_summary_is_one_line(tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(FsbError, match=r"summary.json (cannot be read|holds no JSON object)"):
        run_folder.write_summary(tmp_path, {"steps": 1})
    assert (tmp_path / "summary.json").read_text() == text


def test_versions():
    found = versions()
    assert found["jax"] == jax.__version__
    assert found["numpy"] == np.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


def test_the_commit_of_a_checkout(tmp_path):
    assert git_commit(tmp_path) is None
    package = tmp_path / "package"
    package.mkdir()
    (package / "a.py").write_text("1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    head = git_commit(package)
    assert re.fullmatch("[0-9a-f]{40}", head)
    (package / "a.py").write_text("2\n")
    assert git_commit(package) == head + "-dirty"
    # installed inside somebody's checkout: that commit says nothing about the package
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "b.py").write_text("1\n")
    assert git_commit(tmp_path / ".venv") is None


def test_no_commit_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(Path(__file__).parent) is None


def test_the_device():
    assert re.fullmatch(r"cpu x8 \(.+\)", device())


def test_provenance_is_what_a_summary_needs():
    assert provenance().keys() == {"git_commit", "device", "versions"}


OTHER = """
import sys
from fsb.storage.run_folder import locked
with locked(sys.argv[1]):
    print("has it", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_only_one_process_has_a_folder(tmp_path):
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == "has it\n"
        expected = f"is in use by process {other.pid} on {platform.node()}$"
        with pytest.raises(FsbError, match=expected), run_folder.locked(tmp_path):
            pytest.fail("it was opened")
        assert (tmp_path / ".owner").exists()  # it is the other one's
        other.kill()
    with run_folder.locked(tmp_path):  # the lock has ended with that process
        assert (tmp_path / ".owner").read_text() == f"process {os.getpid()} on {platform.node()}"
        with pytest.raises(FsbError, match="in use"), run_folder.locked(tmp_path):
            pytest.fail("it was opened twice")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_ones_own(tmp_path):
    for name in ("checkpoints/20/state", "wandb/offline-run/files"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("")
    (tmp_path / "wandb/latest-run").symlink_to("offline-run")
    (tmp_path / "wandb/offline-run/code").symlink_to("/")  # below wandb/ W&B makes its own
    assert run_folder.require_own(tmp_path) is None  # nothing is refused


@pytest.mark.parametrize(
    "name", ["curves.png", "checkpoints/20/state/x", "wandb/run_id/x", "wandb"]
)
@pytest.mark.parametrize("target", ["file", "folder", "nothing", None])
def test_a_folder_that_leads_out(name, target, tmp_path):
    kind = "a symbolic link" if target else "no regular file"
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / target) if target else os.mkfifo(path)
    if name.startswith("wandb/"):
        run_folder.require_own(tmp_path / "run")
        return
    with pytest.raises(FsbError, match=rf"run folder .*: {path} is {kind}; a run makes none$"):
        run_folder.require_own(tmp_path / "run")


def test_a_folder_that_cannot_be_listed(tmp_path):
    with pytest.raises(FsbError, match="cannot be read: No such file"):
        run_folder.require_own(tmp_path / "gone")


def test_the_identity_of_a_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    first = run_folder.identity(folder)
    (folder / "file").write_text("")
    assert run_folder.identity(folder) == first
    folder.rename(tmp_path / "moved")
    assert run_folder.identity(folder) is None
    folder.mkdir()
    assert run_folder.identity(folder) != first
