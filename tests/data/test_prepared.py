import functools
import http.server
import io
import json
import struct
import threading
import time

import numpy as np
import pytest
from PIL import Image

from fsb.data import mnist, mnist_static, prepared
from fsb.errors import FsbError


def png(image):
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def prepare(home, name, version, splits):
    """What TFDS's own builder ``name`` would leave in ``home``, as array_record."""
    import tensorflow_datasets as tfds

    with tfds.core.registered.skip_registration():

        class Toy(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version(version)

            def _info(self):
                features = {
                    "image": tfds.features.Image(shape=(28, 28, 1)),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features)
                )

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(x) for split, x in splits.items()}

            def _generate_examples(self, x):
                for i, image in enumerate(x):
                    yield i, {"image": png(image), "label": i % 10}

    Toy.name = name
    Toy(data_dir=str(home), file_format="array_record").download_and_prepare()
    return home / name / version


def as_tfrecord(home):
    """Turn a prepared folder into the default format, without TensorFlow."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    for path in list(home.glob("*.array_record-*")):
        source = ArrayRecordDataSource([str(path)])
        with open(str(path).replace("array_record", "tfrecord"), "wb") as file:
            for record in source.__getitems__(range(len(source))):
                file.write(struct.pack("<Q", len(record)) + bytes(4) + record + bytes(4))
        path.unlink()
    info = home / "dataset_info.json"
    content = json.loads(info.read_text())
    content["fileFormat"] = "tfrecord"
    info.write_text(json.dumps(content).replace("array_record", "tfrecord"))


def ordered(x):
    return sorted(image.tobytes() for image in x)  # TFDS shuffles


@pytest.fixture
def splits(images):
    return {"train": images(30, 28, 28), "test": images(8, 28, 28, seed=1)}


@pytest.mark.slow
@pytest.mark.parametrize("tfrecord", [False, True])
def test_prepared_folders_are_read(tmp_path, splits, tfrecord):
    home = prepare(tmp_path / "tfds", "mnist", "3.0.1", splits)
    if tfrecord:
        as_tfrecord(home)
    dataset = mnist(valid=10, verify=False)
    assert dataset.source == str(home)
    assert dataset.notes == "TFDS order"
    assert not dataset.verified
    got = np.concatenate([dataset.train, dataset.valid])
    assert ordered(got) == ordered(splits["train"])
    assert ordered(dataset.test) == ordered(splits["test"])


def test_a_cut_tfrecord_is_named(tmp_path, splits):
    home = prepare(tmp_path / "tfds", "mnist", "3.0.1", splits)
    as_tfrecord(home)
    (path,) = home.glob("mnist-train.tfrecord*")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FsbError, match=rf"{path}: damaged.*within a record"):
        mnist(valid=10, verify=False)


def test_the_newest_version_is_taken(tmp_path):
    for version in ("1.9.0", "1.10.0", "incomplete.1.11.0"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "dataset_info.json").write_text("{}")
    (tmp_path / "2.0.0").mkdir()
    assert prepared.newest_version(tmp_path) == tmp_path / "1.10.0"
    assert prepared.newest_version(tmp_path / "nothing") is None


@pytest.mark.slow
def test_binarized_mnist_becomes_black_and_white(tmp_path, images):
    bits = {s: images(6, 28, 28) % 2 for s in ("train", "validation", "test")}
    prepare(tmp_path / "tfds", "binarized_mnist", "1.0.0", bits)
    dataset = mnist_static(verify=False)
    assert ordered(dataset.train) == ordered(bits["train"] * 255)


@pytest.fixture
def server(tmp_path):
    """The address of a folder served on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    (tmp_path / "www").mkdir()
    handler = functools.partial(Quiet, directory=tmp_path / "www")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def served(server, content, checksum_of=None):
    import hashlib

    from tensorflow_datasets.core.download.checksums import UrlInfo

    sha = hashlib.sha256(checksum_of or content).hexdigest()
    return {f"{server}/x.gz": UrlInfo(size=len(content), checksum=sha, filename="x.gz")}


@pytest.mark.slow
def test_a_download_is_compared_with_its_checksum(tmp_path, server):
    (tmp_path / "www" / "x.gz").write_bytes(b"content")
    folder = prepared._fetch("toy", served(server, b"content"), tmp_path / "got")
    assert (folder / "x.gz").read_bytes() == b"content"
    with pytest.raises(FsbError, match=r"toy: the download failed") as error:
        prepared._fetch("toy", served(server, b"content", b"other"), tmp_path / "got2")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "got2" / "x.gz").exists()


def test_a_server_that_does_not_answer_takes_seconds_not_minutes(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "_REACH_SECONDS", 1.0)
    start = time.perf_counter()
    for address in ("http://no-such-host.invalid/x.gz", "http://127.0.0.1:9/x.gz"):
        with pytest.raises(FsbError, match=r"cannot download .*is there a network"):
            prepared._fetch("toy", {address: None}, tmp_path)
    assert time.perf_counter() - start < 10


@pytest.mark.slow
def test_download_is_tried_only_when_asked_for(monkeypatch, tmp_path, images, write_idx):
    asked = []

    def fetch(name, infos, folder):
        asked.append((name, sorted(url.rsplit("/", 1)[-1] for url in infos)))
        for split, n in (("train", 9), ("t10k", 4)):
            write_idx(folder / f"{split}-images-idx3-ubyte.gz", images(n, 28, 28))
        return folder

    monkeypatch.setattr(prepared, "_fetch", fetch)
    with pytest.raises(FsbError, match=r"data.download=true"):
        mnist(valid=3, verify=False)
    assert not asked
    assert len(mnist(valid=3, verify=False, download=True).train) == 6
    files = [f"{split}-images-idx3-ubyte.gz" for split in ("t10k", "train")]
    assert asked == [("mnist", files)]
