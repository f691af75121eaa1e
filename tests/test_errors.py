"""Mistakes that show only against files and runs: one line on stderr, exit code 2, no folder."""

import errno
import gzip
import os
import pickle
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import yaml

import fsb.evaluate
import fsb.train
from fsb.errors import FsbError
from fsb.storage.checkpoints import Checkpoints
from runs import TINY, finished, main, one_device, state


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(place, capsys):
    """``refused(program, *arguments)``: the one line, after all else that must hold."""

    def call(program, *arguments):
        before = listing(place)
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            program.main(list(arguments))
        error = capsys.readouterr().err
        assert caught.value.code == 2
        assert error.startswith("fsb: error: ")
        assert error.count("\n") == 1
        assert listing(place) == before
        return error

    return call


def listing(place):
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


IDX = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")


def idx(count, magic=2051):
    return struct.pack(">4i", magic, count, 28, 28) + bytes(784 * count)


def write(folder, content):
    for name in IDX:
        (folder / name).write_bytes(content)


def truncated_gzip(root):
    for name in IDX:
        (root / f"{name}.gz").write_bytes(gzip.compress(os.urandom(99999))[:50000])


def wrong_magic(root):
    write(root, idx(2, magic=2049))


def fewer_images_than_it_says(root):
    write(root, idx(70)[:-1])


def another_mnist(root):
    write(root, idx(70))


def empty_files(root):
    write(root, b"")


FILES = [
    ("mnist", truncated_gzip, "train-images-idx3-ubyte.gz"),
    ("mnist", wrong_magic, "train-images-idx3-ubyte"),
    ("mnist", fewer_images_than_it_says, "train-images-idx3-ubyte"),
    ("mnist", another_mnist, "70 images where 60000 were published"),
    ("mnist", empty_files, "train-images-idx3-ubyte"),
    ("mnist", lambda root: None, "data.root=FOLDER"),
    ("omniglot", lambda root: (root / "chardata.mat").write_bytes(b"MATLAB 5.0?"), "chardata.mat"),
    ("omniglot", lambda root: None, "omniglot: no "),
    ("cifar10", lambda root: None, "cifar10: no "),
    ("fashion_mnist", lambda root: None, "fashion_mnist: no "),
    ("mnist_static", lambda root: None, "mnist_static: no "),
    ("miniimagenet", lambda root: None, "miniimagenet: no "),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "make", "says"), FILES, ids=[f"{d}-{m.__name__}" for d, m, _ in FILES]
)
def test_data_that_cannot_be_read(data, make, says, place, refused):
    (place / "root").mkdir()
    make(place / "root")
    assert says in refused(fsb.train, f"data={data}", "data.root=root", "hydra.run.dir=run")


COMBINATIONS = [
    ("model.layers=0", "model.layers=0: it must be at least 1"),
    ("model.width=0", "model.width=0: it must be at least 1"),
    ("model.low=1 model.high=1", "low"),
    ("model.low=2 model.high=1", "low"),
    ("batch_size=1438 devices=1", "batch_size=1438: digits has 1437 training images"),
    ("logger=wandb logger.mode=ofline", 'got "ofline"; did you mean offline?'),
    (
        "logger=wandb logger.init_timeout=soon",
        "init_timeout: must be a valid number",
    ),
    ("hydra.run.dir=/proc/run", "cannot make the folder /proc/run"),
    ("estimator=exact model.width=16 model.layers=2", "exact: "),
    ("keep_last=0", "keep_last: must be at least 1, got 0"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "says"), COMBINATIONS, ids=[line for line, _ in COMBINATIONS])
def test_what_does_not_go_together(line, says, refused):
    assert says in refused(fsb.train, *line.split(" "))


def run_of(place, **changes):
    """A copy of a finished run whose config.yaml says something else."""
    folder = shutil.copytree(finished(), place / "run")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for key, value in changes.items():
        node = config
        *path, last = key.split("__")
        for part in path:
            node = node[part]
        node[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


RESUMED = [
    ({}, "seed=3", "seed: a resumed run keeps its settings; only max_steps, "),
    ({}, "estimator=darn", "estimator: a resumed run keeps its settings"),
    ({}, "model.width=9", "model.width: a resumed run keeps its settings"),
    ({}, "+extra=1", "settings: unknown 'extra'"),
    ({}, "max_steps=15", "max_steps=15: the run is already at step 20"),
    ({"model__width": 9}, "", "checkpoints/20 does not fit: state"),
    ({"optimizer": {"_target_": "fsb.optimizers.adam"}}, "", "checkpoints/20 does not fit: state"),
    (
        {"estimator": {"_target_": "os.system", "command": "touch ran"}},
        "",
        "os.system is not an estimator",
    ),
    ({"estimator": {"_target_": "mine.own"}}, "", "mine.own is not an estimator"),
    (
        {"estimator": {"_target_": "mine.own"}, "modules": ["mine"]},
        "",
        "mine.own is not an estimator",
    ),
    (
        {"logger": {"_target_": "subprocess.run", "args": ["ls"]}},
        "",
        "subprocess.run is not a logger",
    ),
    ({"compilation_cache": "${oc.env:HOME}"}, "", "interpolation"),
    ({"batch_size": 17}, "devices=2", "batch_size=17: must be a multiple of the 2 devices"),
]


@pytest.mark.parametrize(("changes", "line", "says"), RESUMED)
def test_a_run_that_cannot_go_on(changes, line, says, place, refused):
    (place / "mine.py").write_text("open('ran', 'w')\ndef own(): pass\n")
    folder = run_of(place, **changes)
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert says in refused(fsb.train, "resume=run", *line.split())
    assert {path: path.read_bytes() for path in kept} == kept


EVALUATED = [
    ("run=no/such", "run folder no/such: does not exist"),
    ("run=empty", "run folder empty: holds no config.yaml"),
    ("run=new", "new: it holds no checkpoint yet"),
    ("run=new split=tset", 'got "tset"; did you mean test?'),
    ("run=new devices=99", "devices=99: only 8 available"),
    ("run=new bound_samples=[0]", "bound_samples[0]: must be at least 1, got 0"),
    ("run=new seed=-1", "seed: must be at least 0"),
    ("run=new data_root=gone", "data.root=gone"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "says"), EVALUATED, ids=[line for line, _ in EVALUATED])
def test_what_cannot_be_evaluated(line, says, place, refused):
    (place / "empty").mkdir()
    run_of(place).rename(place / "new")
    shutil.rmtree(place / "new" / "checkpoints")
    assert says in refused(fsb.evaluate, *line.split(" "))


class Trap:
    """Whoever unpickles it leaves a file behind."""

    def __reduce__(self):
        return (open, ("ran", "w"))


@pytest.mark.slow
def test_a_pickle_is_never_loaded(place, refused):
    """In the place of a checkpoint's record, of its state, of data, of a cache."""
    trap = pickle.dumps(Trap())
    pickle.loads(trap).close()
    assert (place / "ran").exists()  # the trap works
    (place / "ran").unlink()
    folder = run_of(place)
    shutil.rmtree(folder / "checkpoints/10")
    for path in (folder / "checkpoints/20").rglob("*"):
        if path.is_file():
            path.write_bytes(trap)
    with pytest.warns(UserWarning, match="20 is damaged"):
        assert "no valid checkpoint" in refused(fsb.evaluate, "run=run")
    (place / "root").mkdir()
    np.save(place / "root" / "train.npy", np.array([Trap()]), allow_pickle=True)
    for name in IDX:
        shutil.copy(place / "root" / "train.npy", place / "root" / name)
    refused(fsb.train, "data=mnist", "data.root=root")
    (folder / "config.yaml").write_bytes(trap)
    refused(fsb.train, "resume=run")
    assert not (place / "ran").exists()


@pytest.mark.slow
def test_no_folder_can_be_made_below_a_file(place, refused):
    (place / "file").write_text("")
    assert "cannot make the folder file/run" in refused(fsb.train, *TINY, "hydra.run.dir=file/run")


class Full:
    """A disk without space, as each of the layers below a checkpoint reports it."""

    def __init__(self, error):
        self.error = error

    def save(self, folder, args):
        Path(f"{folder}.orbax-checkpoint-tmp").mkdir()
        raise self.error

    def close(self):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        ValueError("RESOURCE_EXHAUSTED: Error writing\nfile: No space left on device [x]"),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: No space left on device"),
    ],
)
def test_a_full_disk_keeps_the_last_checkpoint(error, tmp_path, monkeypatch):
    Checkpoints(tmp_path).save(20, {"w": np.ones(3)})
    before = state_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_checkpointer", lambda self: Full(error))
        with pytest.raises(
            FsbError, match=r"cannot write a checkpoint .*: no space left on device$"
        ):
            Checkpoints(tmp_path).save(30, {"w": np.zeros(3)})
    assert state_of(tmp_path) == before
    assert Checkpoints(tmp_path).restore({"w": np.zeros(3)})[0]["w"].tolist() == [1, 1, 1]


def state_of(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_late_reports_are_dropped_after_the_program_too(monkeypatch):
    """The threads of TensorStore may still run when a program ends."""
    printed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: printed.append(report.exc_value))
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: printed.append(error))
    fsb.train.main(["--cfg", "job"])
    late, other = RuntimeError("Event loop is closed"), RuntimeError("of a user")
    for error in (late, other):
        sys.excepthook(RuntimeError, error, None)
        sys.unraisablehook(SimpleNamespace(object=None, exc_value=error))
    assert printed == [other, other]


@pytest.mark.slow
def test_a_file_that_cannot_be_written_during_a_run(tmp_path):
    """No file may have more than 8 kB: Orbax, TensorStore and asyncio would print 100 lines."""
    folder = shutil.copytree(finished(), tmp_path / "run")
    before = state(folder)
    limit = (
        "import resource, signal, fsb.train; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000)); fsb.train.main()"
    )
    command = [sys.executable, "-c", limit, f"resume={folder}", "max_steps=40"]
    environment = {**os.environ, "XLA_FLAGS": one_device(), "JAX_ENABLE_COMPILATION_CACHE": "false"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert run.returncode == 2, run.stderr
    lines = run.stderr.splitlines()
    assert len(lines) <= 5, run.stderr
    assert lines[-1].startswith(f"fsb: error: cannot write a checkpoint in {folder}/checkpoints: ")
    assert state(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_logger_that_is_not_installed(mode, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert "needs the package wandb" in refused(fsb.train, "logger=wandb", f"logger.mode={mode}")


@pytest.mark.slow
def test_a_logger_that_refuses_leaves_no_folder(place, capsys, monkeypatch):
    (place / "refuser.py").write_text(
        "from fsb import FsbError\ndef log(folder, config):\n    raise FsbError('no')\n"
    )
    monkeypatch.syspath_prepend(str(place))
    with pytest.raises(SystemExit, match="2"):
        main(place / "run", "modules=[refuser]", "logger._target_=refuser.log")
    assert capsys.readouterr().err == "fsb: error: logger: no\n"
    assert not (place / "run").exists()
