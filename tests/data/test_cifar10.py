import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from fsb.data import cifar10
from fsb.errors import FsbError

NAMES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")


@pytest.fixture
def batches(images):
    return [images(4, 32, 32, 3, seed=i) for i in range(6)]


def record(x):
    planes = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    return np.concatenate([np.zeros((len(x), 1), np.uint8), planes], 1).tobytes()


def write_folder(root, batches):
    (root / "cifar-10-batches-bin").mkdir()
    for name, x in zip(NAMES, batches, strict=True):
        (root / "cifar-10-batches-bin" / name).write_bytes(record(x))


def write_archive(root, batches):
    with tarfile.open(root / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for name, x in reversed(list(zip(NAMES, batches, strict=True))):
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(record(x))
            archive.addfile(info, io.BytesIO(record(x)))


def write_tiles(root, batches):
    (root / "cifar10").mkdir()
    for name, x in zip([*(f"train_{i}" for i in range(5)), "test"], batches, strict=True):
        tile = x.reshape(2, 2, 32, 32, 3).swapaxes(1, 2).reshape(64, 64, 3)
        Image.fromarray(tile).save(root / "cifar10" / f"{name}.webp", lossless=True)


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_folder, write_archive, write_tiles])
def test_every_form(tmp_path, batches, write):
    write(tmp_path, batches)
    dataset = cifar10(str(tmp_path), valid=5, verify=False)
    train = np.concatenate(batches[:5])
    np.testing.assert_array_equal(dataset.train, train[:15])
    np.testing.assert_array_equal(dataset.valid, train[15:])
    np.testing.assert_array_equal(dataset.test, batches[5])
    assert dataset.shape == (32, 32, 3)
    assert dataset.preprocess.bits_offset == 8.0
    np.testing.assert_allclose(dataset.mean, (train[:15].mean(0) + 0.5) / 256, rtol=1e-5)


def test_damage_is_named(tmp_path, batches):
    write_folder(tmp_path, batches)
    bad = tmp_path / "cifar-10-batches-bin" / NAMES[2]
    bad.write_bytes(bad.read_bytes()[:-7])
    with pytest.raises(FsbError, match=NAMES[2]):
        cifar10(str(tmp_path), verify=False)


def test_a_cut_archive_is_named(tmp_path, batches):
    write_archive(tmp_path, batches)
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(FsbError, match=r"cifar-10-binary\.tar\.gz: damaged"):
        cifar10(str(tmp_path), verify=False)


def test_a_pickled_version_is_not_read(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"\x80\x02.")
    with pytest.raises(FsbError, match=r"no cifar-10-batches-bin"):
        cifar10(str(tmp_path))


@pytest.mark.slow
def test_real_tiles(real):
    dataset = cifar10(real)
    assert [len(x) for x in (dataset.train, dataset.valid, dataset.test)] == [45000, 5000, 10000]
    assert dataset.verified
    np.testing.assert_allclose(dataset.mean.mean((0, 1)), [0.493, 0.484, 0.448], atol=3e-3)
