"""Hostile run folders, data files and command lines: one line, exit code 2, and nothing else.

Each case is a line of a list: what is done to a run folder or to a data root, and the command. No
case may run anything, touch a file outside, leave a half-written run, take long or much memory.
"""

import gzip
import io
import json
import os
import pickle
import resource
import shutil
import signal
import struct
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import fsb.evaluate
import fsb.prepare
import fsb.train
from fsb.lab import __main__ as lab
from runs import finished

SECONDS, BYTES = 20, 2**30
PROGRAMS = {"train": fsb.train, "evaluate": fsb.evaluate, "prepare": fsb.prepare, "lab": lab}
SECRET = "a-secret-of-the-user"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to stand in, with a file of the user's and an empty folder beside it."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "keep").write_text("keep")
    monkeypatch.chdir(home)
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.setenv("FSB_CACHE", str(tmp_path / "cache"))
    return home


def listing(folder):
    """Every path below, with the content of small files."""
    return {
        str(path): path.read_bytes() if path.is_file() and path.stat().st_size < 2**16 else None
        for path in sorted(folder.rglob("*"))
        if ".cache" not in path.parts and not str(path).endswith(".tmp")
    }


def too_long(number, frame):
    raise AssertionError(f"it took more than {SECONDS} s")


def refused(place, capsys, command, expected):
    """Runs the command, which must be refused, and compares all that must not change."""
    program, *arguments = command
    before = listing(place), listing(place.parent / "outside")
    capsys.readouterr()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    with pytest.raises(SystemExit) as caught:
        PROGRAMS[program].main(arguments)
    signal.setitimer(signal.ITIMER_REAL, 0)
    lines = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2, lines
    assert time.monotonic() - start < SECONDS
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) < BYTES
    assert len(lines) <= 5, lines
    assert sum(line.startswith("fsb: error: ") for line in lines) == 1, lines
    assert expected in lines[-1]
    assert SECRET not in "".join(lines)
    assert (listing(place), listing(place.parent / "outside")) == before
    assert (place.parent / "mine.txt").read_text() == "mine"


# --- run folders

PROGRAM_OF_A_RUN = {
    "resume": ("train", "resume=run", "max_steps=30"),
    "evaluate": ("evaluate", "run=run", "devices=1", "bound_samples=[]"),
}


def edited(changes):
    """Puts values into config.yaml, by dotted key; None as a value is null."""

    def change(folder):
        config = yaml.safe_load((folder / "config.yaml").read_text())
        for key, value in changes.items():
            node = config
            *path, last = key.split(".")
            for part in path:
                node = node[part]
            node[last] = value
        (folder / "config.yaml").write_text(yaml.safe_dump(config))

    return change


def appended(text):
    def change(folder):
        path = folder / "config.yaml"
        path.write_bytes(path.read_bytes() + text)

    return change


def linked(name, target):
    """Puts a symbolic link to something of the user's in place of a file or folder of the run."""

    def change(folder):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(Path.cwd().parent / target)

    return change


def piped(name):
    def change(folder):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def overwritten(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def emptied(name):
    def change(folder):
        for path in (folder / name).rglob("*"):
            if path.is_file():
                path.write_bytes(b"")

    return change


KEYS = ("data", "model", "estimator", "objective", "optimizer", "control_optimizer", "logger")
TARGETS = (
    {"_target_": "os.system", "command": "touch ran"},
    {"_target_": "subprocess.run", "args": ["touch", "ran"]},
    {"_target_": "builtins.eval", "source": "1"},
    {"_target_": "fsb.lab.problems.file", "function": "run/notes.py:loss"},
    {"_target_": "fsb.lab.problems.run", "run": "inner", "modules": ["os"]},
    {"_target_": "fsb.storage.atomic.write_text_atomic", "path": "ran", "text": "x"},
    {"_target_": "fsb.storage.run_folder.new_folder", "path": "ran"},
    {"_target_": "fsb.cli.modules.from_file", "text": "run/notes.py:loss", "where": ""},
    {"_target_": "fsb.train.main", "argv": []},
    {"_target_": "fsb.estimators.st.__globals__"},
    {"_target_": "notes.loss"},
    {"_target_": ["os.system"]},
)
KIND = {
    "data": "fsb.estimators.st",
    "model": "fsb.data.digits",
    "estimator": "fsb.networks.vae",
    "objective": "fsb.optimizers.adam",
    "optimizer": "fsb.objectives.elbo",
    "control_optimizer": "fsb.estimators.darn",
    "logger": "fsb.data.mnist",
}
BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 8)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

RUNS = [
    *[
        (f"{key}: {target['_target_']}", "resume", edited({key: target}), f"{key}._target_: ")
        for key in KEYS
        for target in TARGETS
    ],
    *[
        (f"{key}: {name}", "evaluate", edited({key: {"_target_": name}}), f"{key}._target_: {name}")
        for key, name in KIND.items()
    ],
    *[
        (f"inner {key}", "resume", edited({f"{key}.inner": {"_target_": "os.system"}}), "")
        for key in KEYS
    ],
    ("modules of its own", "resume", edited({"modules": ["notes"], "estimator": TARGETS[10]}), ""),
    ("interpolation", "resume", edited({"compilation_cache": "${oc.env:SECRET}"}), "interpolation"),
    ("escaped", "resume", appended(b'zzz: "\\x24{oc.env:SECRET}"\n'), "interpolation"),
    ("in a key", "resume", appended(b'"\\x24{oc.env:SECRET}": 1\n'), "interpolation"),
    ("in the logger", "resume", edited({"logger.tags": ["${oc.env:SECRET}"]}), "interpolation"),
    ("aliases", "resume", overwritten("config.yaml", BOMB.encode()), "alias"),
    ("a chain", "resume", appended(b"x: ${y}\ny: ${x}\n"), ""),
    ("depth", "resume", appended(b"x: " + b"[" * 1000 + b"]" * 1000), "nesting"),
    ("size", "resume", appended(b"#" * 2**17), "larger"),
    ("a tag of Python", "resume", appended(b"x: !!python/object/apply:os.system [touch ran]"), ""),
    ("bytes", "resume", overwritten("config.yaml", bytes(range(256))), ""),
    ("nothing", "resume", overwritten("config.yaml", b""), ""),
    ("a list", "resume", overwritten("config.yaml", b"[1, 2]"), ""),
    ("a word", "resume", overwritten("config.yaml", b"hello"), ""),
    ("half a line", "resume", appended(b"data: {"), ""),
    ("an unknown key", "resume", edited({"stesp": 3}), "unknown 'stesp'"),
    ("a key that is missing", "resume", overwritten("config.yaml", b"seed: 1"), ""),
    *[
        (f"{key}={value}", "resume", edited({key: value}), key.rpartition(".")[2])
        for key, value in (
            ("seed", -1),
            ("seed", float("nan")),
            ("max_steps", 0),
            ("max_steps", 1.5),
            ("max_steps", "abc"),
            ("max_steps", True),
            ("batch_size", 0),
            ("batch_size", 10**9),
            ("keep_last", -1),
            ("bound_samples", "all"),
            ("estimator.delta", float("nan")),
            ("estimator.delta", -1.0),
            ("optimizer.learning_rate", float("inf")),
            ("optimizer.learning_rate", 0.0),
            ("objective.free_bits", float("nan")),
            ("model.width", 0),
            ("model.layers", 10**30),
            ("likelihood", "poisson"),
            ("data.binarisation", "both"),
            ("on_divergence", "ignore"),
        )
    ],
    *[
        (f"{program} {name} is a link", program, linked(name, target), "is a symbolic link")
        for program in PROGRAM_OF_A_RUN
        for name, target in (
            ("curves.png", "mine.txt"),
            ("samples.png", "mine.txt"),
            ("reconstructions.png", "mine.txt"),
            ("metrics.csv", "mine.txt"),
            ("summary.json", "mine.txt"),
            ("config.yaml", "mine.txt"),
            ("evaluation", "outside"),
            ("checkpoints", "outside"),
            ("checkpoints/20", "outside"),
            ("wandb", "outside"),
            (".owner", "mine.txt"),
            ("nothing", "gone"),
        )
    ],
    *[
        (f"{program} {name} is a pipe", program, piped(name), "is no regular file")
        for program in PROGRAM_OF_A_RUN
        for name in ("metrics.csv", "summary.json", "config.yaml", "samples.png")
    ],
    *[
        (
            f"metrics.csv: {content[:20]}",
            "resume",
            overwritten("metrics.csv", content),
            "metrics.csv",
        )
        for content in (
            b"a,b\n1,2\n",
            b"step\n0\n",
            b"step,train_elbo,valid_elbo,test_elbo,wall_seconds\n0,1,2,3\n",
            b"step,train_elbo,valid_elbo,test_elbo,wall_seconds\n0,1,2,3,x\n",
            b"step,train_elbo,valid_elbo,test_elbo,wall_seconds,kl\nten,1,2,3,4,0\n",
            b"step,train_elbo,valid_elbo,test_elbo,wall_seconds,kl\n0,1,2,3,4,x\n",
            b"\xff\xfe\n",
            b"a\n" + b"1" * 2**18 + b"\n",
        )
    ],
    ("summary.json: a list", "resume", overwritten("summary.json", b"[]"), "holds no JSON object"),
    ("summary.json: half", "resume", overwritten("summary.json", b"{"), "cannot be read"),
    ("no bytes", "evaluate", emptied("checkpoints"), "no valid checkpoint"),
    ("no checkpoint", "evaluate", lambda f: shutil.rmtree(f / "checkpoints"), "no checkpoint yet"),
]


@pytest.mark.parametrize(
    ("program", "change", "expected"), [r[1:] for r in RUNS], ids=[r[0] for r in RUNS]
)
@pytest.mark.filterwarnings("ignore:checkpoint .* is damaged")
@pytest.mark.slow
def test_a_hostile_run_folder(program, change, expected, place, capsys):
    shutil.copytree(finished(), place / "run")
    (place / "run" / "notes.py").write_text("open('ran', 'w')\ndef loss(): pass\n")
    change(place / "run")
    refused(place, capsys, PROGRAM_OF_A_RUN[program], expected)


# --- data files


def gz_bomb(path):
    """A gzip file of far more zeros than the header of its idx file declares."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(struct.pack(">4i", 2051, 6 * 10**4, 28, 28))
        for _ in range(512):
            file.write(bytes(2**20))


def idx(path, header=(2051, 3, 28, 28), content=bytes(3 * 784)):
    path.write_bytes(struct.pack(">4i", *header) + content)


def npz_bomb(path):
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("images.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(2100):
            member.write(bytes(2**20))


def tar_bomb(path):
    """A tar file that ends after the header of a member of 5 GiB."""
    info = tarfile.TarInfo("train/n1/a.jpg")
    info.size = 5 * 2**30
    path.write_bytes(gzip.compress(info.tobuf() + bytes(10**4)))


class Evil:
    def __reduce__(self):
        return os.system, ("touch ran",)


def saved(**arrays):
    return lambda path: np.savez(path, **arrays)


def written(content):
    return lambda path: path.write_bytes(content)


IDX = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(ran) (w) file closefile\nshowpage\n"
FACES = np.zeros((9, 4, 4), np.uint8)
SUBJECT = np.repeat(np.arange(3), 3)
TILES = (*(f"train_{i}.webp" for i in range(5)), "test.webp")
PICKLES = tuple(f"mini-imagenet-cache-{split}.pkl" for split in ("train", "val", "test"))

DATA = [
    ("mnist", IDX, written(b""), ""),
    ("mnist", IDX, written(b"hello"), ""),
    ("mnist", IDX, lambda path: idx(path, (2049, 3, 28, 28)), "not an idx file"),
    ("mnist", IDX, lambda path: idx(path, (2051, -1, 28, 28)), ""),
    ("mnist", IDX, lambda path: idx(path, (2051, 2**31 - 1, 28, 28)), "unpacks to more than"),
    ("mnist", IDX, lambda path: idx(path, content=bytes(10)), ""),
    ("mnist", IDX, lambda path: idx(path, content=bytes(3000)), ""),
    ("mnist", IDX, lambda path: idx(path, (2051, 0, 28, 28), b""), ""),
    ("mnist", IDX, lambda path: os.mkfifo(path), "no train-images-idx3-ubyte"),
    ("mnist", IDX, lambda path: path.symlink_to("/dev/zero"), "no train-images-idx3-ubyte"),
    ("mnist", IDX, lambda path: path.symlink_to(path), "no train-images-idx3-ubyte"),
    ("mnist", IDX, lambda path: path.mkdir(), "no train-images-idx3-ubyte"),
    ("mnist", [f"{name}.gz" for name in IDX], written(b"\x1f\x8b broken"), ""),
    ("mnist", [f"{name}.gz" for name in IDX], gz_bomb, ""),
    ("mnist_static", ["binarized_mnist.npz"], written(b"PK\3\4 broken"), ""),
    ("mnist_static", ["binarized_mnist.npz"], saved(a=np.zeros(3)), ""),
    ("mnist_static", ["binarized_mnist.npz"], saved(a=np.array([Evil()], object)), ""),
    ("mnist_static", ["binarized_mnist.npz"], npz_bomb, "unpacks to more than"),
    (
        "mnist_static",
        [f"binarized_mnist_{split}.amat" for split in ("train", "valid", "test")],
        written(b"0 1 two"),
        "",
    ),
    ("omniglot", ["chardata.mat"], written(b"MATLAB 5.0" + bytes(200)), ""),
    ("omniglot", ["chardata.mat"], written(b"hello"), ""),
    ("omniglot", ["omniglot28_burda_reconstructed.npz"], saved(x_train=np.zeros((2, 2))), ""),
    ("faces", ["faces.npz"], saved(images=FACES, subject=SUBJECT[:4]), ""),
    ("faces", ["faces.npz"], saved(images=FACES[:, :0], subject=SUBJECT), ""),
    ("faces", ["faces.npz"], saved(images=FACES.astype(float), subject=SUBJECT), ""),
    ("faces", ["faces.npz"], saved(images=FACES[..., None].repeat(2, -1), subject=SUBJECT), ""),
    ("faces", ["faces.npz"], saved(images=FACES, subject=np.zeros(9)), "three are needed"),
    ("faces", ["faces.npz"], lambda path: os.mkfifo(path), "no TFD_48x48.mat"),
    ("cifar10", TILES, written(EPS), ""),
    ("cifar10", TILES, written(b"RIFF1234WEBP"), ""),
    ("cifar10", ["cifar-10-binary.tar.gz"], written(b"hello"), ""),
    ("cifar10", ["cifar-10-binary.tar.gz"], tar_bomb, "unpacks to more than"),
    ("miniimagenet", PICKLES, written(pickle.dumps(Evil())), "refused"),
    ("miniimagenet", PICKLES, written(pickle.dumps({"image_data": 1})), ""),
    ("miniimagenet", PICKLES, written(b"\x80\x04" + b"(" * 100), ""),
    ("miniimagenet", ["mini-imagenet.zip"], written(b"PK\3\4"), ""),
    ("miniimagenet", ["mini-imagenet.tar.gz"], tar_bomb, "unpacks to more than"),
    ("miniimagenet", ["train.csv", "val.csv", "test.csv"], written(b"a,b\n1,2\n"), ""),
    ("miniimagenet", ["train.csv", "val.csv", "test.csv"], written(b"\xff\xfe\x00"), ""),
    ("miniimagenet", ["miniimagenet84_subset.npz"], saved(jpeg=np.zeros(3)), ""),
]


TFDS = {
    "name": "mnist",
    "version": "3.0.1",
    "fileFormat": "array_record",
    "splits": [
        {
            "name": name,
            "numBytes": "9",
            "shardLengths": ["2"],
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        }
        for name in ("train", "test")
    ],
}
IMAGE = {
    "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
    "featuresDict": {
        "features": {
            "image": {
                "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
                "image": {"shape": {"dimensions": ["28", "28", "1"]}, "dtype": "uint8"},
            }
        }
    },
}
FEATURES, NOTHING = json.dumps(IMAGE), {}


def tfds(content=b"", form="array_record", info=NOTHING, features=FEATURES, shards="00001"):
    """A copy of MNIST as TFDS prepares one, with bytes of ours in place of the records."""

    def write(folder):
        folder.mkdir(parents=True)
        whole = info if isinstance(info, str) else json.dumps(TFDS | {"fileFormat": form} | info)
        (folder / "dataset_info.json").write_text(whole)
        (folder / "features.json").write_text(features)
        for split in ("train", "test"):
            (folder / f"mnist-{split}.{form}-00000-of-{shards}").write_bytes(content)

    return write


def shards(path):
    return [split | {"filepathTemplate": path} for split in TFDS["splits"]]


def png(*size):
    content = io.BytesIO()
    Image.new("L", size).save(content, "PNG")
    return content.getvalue()


def framed(record, length=None):
    """A record of a tfrecord file."""
    size = len(record) if length is None else length
    return struct.pack("<Q", size) + bytes(4) + record + bytes(4)


def field(number, content):
    """A field of a protobuf message that holds bytes."""
    size, length = len(content), b""
    while size >= 128:
        length, size = length + bytes([size % 128 + 128]), size // 128
    return bytes([8 * number + 2]) + length + bytes([size]) + content


def example(image):
    """A record of a tfrecord file: a tf.train.Example with the bytes of an image."""
    value = field(1, field(1, image))
    return framed(field(1, field(1, field(1, b"image") + field(2, value))))


HOME = ["mnist/3.0.1"]
DATA += [
    ("mnist", HOME, tfds(info="{"), ""),
    ("mnist", HOME, tfds(info="[]"), ""),
    ("mnist", HOME, tfds(info={"splits": 5}), ""),
    ("mnist", HOME, tfds(info={"splits": []}), ""),
    ("mnist", HOME, tfds(info={"fileFormat": "riegeli"}), ""),
    ("mnist", HOME, tfds(features="{"), ""),
    ("mnist", HOME, tfds(features="{}"), ""),
    ("mnist", HOME, tfds(features='{"pythonClassName": "os.system"}'), ""),
    ("mnist", HOME, tfds(features=FEATURES.replace("tensorflow_datasets", "root.evil")), "evil"),
    (
        "mnist",
        HOME,
        tfds(features=json.dumps({"type": "root.evil.Image"})),
        "names root.evil.Image",
    ),
    ("mnist", HOME, tfds(features=json.dumps(IMAGE | {"a": [["root.evil"]]})), "names root.evil"),
    ("mnist", HOME, tfds(features="[" * 10**5), ""),
    ("mnist", HOME, tfds(features=" " * 2**21), "unpacks to more than"),
    ("mnist", HOME, tfds(shards="00002"), ""),
    ("mnist", HOME, tfds(example(EPS) * 2, "tfrecord"), "cannot identify image file"),
    ("mnist", HOME, tfds(example(b"RIFF") * 2, "tfrecord"), "cannot identify image file"),
    ("mnist", HOME, tfds(example(png(28, 27)) + example(png(28, 28)), "tfrecord"), "shape"),
    (
        "mnist",
        HOME,
        tfds(info={"splits": shards("/dev/zero")}, form="tfrecord"),
        "/dev/zero: not a",
    ),
    ("mnist", HOME, tfds(b""), ""),
    ("mnist", HOME, tfds(b"hello"), ""),
    ("mnist", HOME, tfds(bytes(2**17)), ""),
    ("mnist", HOME, tfds(os.urandom(2**17)), ""),
    ("mnist", HOME, tfds(b"", "tfrecord"), ""),
    ("mnist", HOME, tfds(b"hello", "tfrecord"), ""),
    ("mnist", HOME, tfds(framed(b"no protobuf") * 2, "tfrecord"), ""),
    ("mnist", HOME, tfds(framed(b"") * 2, "tfrecord"), ""),
    ("mnist", HOME, tfds(framed(b"x", 2**62), "tfrecord"), ""),
    ("mnist", HOME, tfds(framed(b"x", 2**33), "tfrecord"), ""),
    ("mnist", HOME, tfds(framed(bytes([10, 255, 255, 255, 255, 15])) * 2, "tfrecord"), ""),
]


@pytest.mark.parametrize(("name", "files", "write", "expected"), DATA)
@pytest.mark.slow
def test_a_hostile_data_file(name, files, write, expected, place, capsys):
    root = place / "root"
    root.mkdir()
    slow = {gz_bomb, npz_bomb, tar_bomb}
    made = None
    for file in files:
        if write in slow and made:
            shutil.copy(made, root / file)
        else:
            write(root / file)
            made = root / file
    refused(place, capsys, ("prepare", f"data={name}", "data.root=root"), expected)


# --- command lines

LINES = [
    ("train", ["resume="], "resume"),
    ("train", ["resume=nope"], "run folder nope: does not exist"),
    ("train", ["resume=/dev/null"], "/dev/null"),
    ("train", ["modules=['']"], "modules[0]"),
    ("train", ["modules=['.']"], "modules[0]"),
    ("train", ["modules=['../x']"], "modules[0]"),
    ("train", ["modules=[no_such_module]"], "modules[0]: there is no module"),
    ("train", ["modules=[broken]"], "modules[0]"),
    ("train", ["estimator=fosut"], "did you mean foust?"),
    ("train", ["stesp=3"], "unknown 'stesp'"),
    ("train", ["--package", "foo"], "--package"),
    ("train", ["--stesp=3"], "settings take no dashes"),
    ("train", ["max_steps=abc"], "max_steps"),
    ("train", ["max_steps=1e400"], "max_steps"),
    ("train", ["steps_per_call=1e18"], "steps_per_call"),
    ("train", ["model.width=1e12"], "model"),
    ("train", ["model.width=-3"], "model.width"),
    ("train", ["model.layers=1e9"], "model"),
    ("train", ["batch_size=0"], "batch_size"),
    ("train", ["batch_size=3000"], "digits has 1437 training images"),
    ("train", ["objective.free_bits=nan"], "objective.free_bits"),
    ("train", ["optimizer.learning_rate=nan"], "optimizer.learning_rate"),
    ("train", ["optimizer.learning_rate=-1"], "learning_rate"),
    ("train", ["estimator.delta=nan"], "estimator.delta"),
    ("train", ["estimator=st,darn"], "several values"),
    ("train", ["estimator._target_=os.system"], "is not an estimator"),
    ("train", ["data._target_=fsb.estimators.st"], "is not a data set"),
    ("train", ["logger=wandb", "logger.init_timeout=-5"], "init_timeout"),
    ("train", ["hydra/launcher=nope"], "launcher"),
    ("train", ["hydra.launcher=nope"], "choose one with hydra/launcher=NAME"),
    ("train", ["hydra.sweeper=nope"], "choose one with hydra/sweeper=NAME"),
    ("train", ["hydra.launcher=null"], "choose one with hydra/launcher=NAME"),
    ("train", ["hydra.job=5"], "hydra.job=5"),
    ("train", ["suited=nope"], "suited: unknown 'nope'"),
    ("train", ["--multirun", "suited=nope,sresnet80_sgd"], "suited: unknown 'nope'"),
    ("train", ["model=sub/nope"], "unknown 'nope'"),
    ("train", ["compilation_cache=5"], "compilation_cache: must be a valid string, got 5"),
    ("train", ["compilation_cache=true"], "compilation_cache"),
    ("train", ["--multirun", "seed=range(0,3,0)"], "seed=range(0,3,0): the step"),
    ("train", ["--multirun", "seed=range(0,3,0.0)"], "the step"),
    ("train", ["--multirun", "seed=range(3,0)"], ""),
    ("train", ["--multirun", "seed=range(1e12)"], "at most 10000 jobs"),
    ("train", ["--multirun", "seed=shuffle(range(1e12))"], "at most 10000 jobs"),
    ("train", ["--multirun", "seed=range(200)", "max_steps=range(1,100)"], "more than 10000 jobs"),
    ("train", ["--multirun", "estimator=glob(nothing*)"], "there is no such value"),
    ("train", ["--multirun", "seed=interval(0,1)"], "INTERVAL"),
    ("train", [f"hydra.run.dir={'a' * 300}"], "File name too long"),
    ("train", ["hydra.run.dir=" + "a/" * 3000], "File name too long"),
    ("train", ["--multirun", "seed=1,2", f"hydra.sweep.subdir={'a' * 300}"], "File name too long"),
    ("train", ["logger=wandbb"], "did you mean wandb?"),
    (
        "train",
        ["modules=[own]", "logger._target_=own.needs"],
        "missing a required argument: 'more'",
    ),
    ("train", ["modules=[own]", "logger._target_=own.logg"], "did you mean own.logger?"),
    ("train", ["devices=99"], "devices=99"),
    ("train", ["distributed.num_processes=2"], "distributed.coordinator"),
    ("train", ["distributed.num_processes=2", "distributed.coordinator=here"], "host:port"),
    ("train", ["distributed.num_processes=2", "distributed.coordinator=here:0"], "host:port"),
    ("train", ["distributed.num_processes=2", "distributed.coordinator=a:99999"], "host:port"),
    ("train", ["on_divergence=maybe"], "on_divergence"),
    ("train", ["hydra.run.dir=/proc/run"], "cannot make the folder"),
    ("train", ["hydra.run.dir=loop/run"], "cannot make the folder"),
    ("train", ["data=miniimagenet", "data.size=1e9", "data.root=."], "data"),
    ("evaluate", [], "run: is required"),
    ("evaluate", ["run="], ""),
    ("evaluate", ["run=."], ""),
    ("evaluate", ["run=loop"], ""),
    ("lab", ["estimators=5"], "estimators"),
    ("lab", ["estimator.c=1.0"], "settings: unknown 'estimator'; did you mean estimators?"),
    ("lab", ["estimators=[own.py:neds]"], "did you mean needs? (choices: logger, needs)"),
    ("lab", ["estimators=[fosut]"], "did you mean foust?"),
    ("lab", ["problem=mlp", "problem.units=-2"], "units"),
    ("lab", ["problem=sbn", "problem.side=0"], "side"),
    ("lab", ["problem=sbn", "problem.batch_size=0"], "batch_size"),
    ("lab", ["problem=polynomial", "problem.units=0"], "units"),
    ("lab", ["problem=toy", "problem.target=nan"], "problem.target"),
    ("lab", ["problem=file", "problem.function=nope.py:loss"], "there is no file"),
    ("lab", ["problem=file", "problem.function=broken.py:loss"], "broken.py"),
    ("prepare", ["data=mnits"], "did you mean mnist?"),
    ("prepare", ["data=mnist", "data.root=nope"], "there is no such folder"),
]


OWN = """
import os
from fsb.estimators import rloo

def needs(folder, config, more): pass

def logger(folder, config):
    raise rloo
"""


@pytest.mark.parametrize(
    ("program", "arguments", "expected"), LINES, ids=[" ".join([p, *a]) for p, a, _ in LINES]
)
def test_a_wrong_command_line(program, arguments, expected, place, capsys, monkeypatch):
    (place / "broken.py").write_text("def loss(:\n")
    (place / "own.py").write_text(OWN)
    (place / "loop").symlink_to(place / "loop")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python's own copy of own.py
    # What is wrongly accepted should end soon.
    short = {"train": ("max_steps=1", "bound_samples=[]", "devices=1"), "lab": ("draws=1",)}
    refused(place, capsys, (program, *short.get(program, ()), *arguments), expected)


def test_there_are_many_cases():
    assert len(RUNS) + len(DATA) + len(LINES) >= 150
