import os
import shutil
import time

import numpy as np
import pytest

import fsb.data
from fsb.data import fashion_mnist, mnist
from fsb.errors import FsbError


@pytest.mark.slow
def test_splits_shapes_and_mean(mnist_root, images, key):
    dataset = mnist(str(mnist_root), valid=10, verify=False)
    train = images(50, 28, 28)
    np.testing.assert_array_equal(dataset.train, train[:40])
    np.testing.assert_array_equal(dataset.valid, train[40:])
    np.testing.assert_array_equal(dataset.test, images(20, 28, 28, seed=1))
    assert dataset.shape == (28, 28)
    assert dataset.source.endswith("MNIST/raw")
    assert not dataset.verified
    np.testing.assert_allclose(dataset.mean, train[:40].mean(0) / 255, rtol=1e-6)
    assert dataset.mean.dtype == np.float32
    assert dataset.preprocess.apply(key, dataset.train).shape == (40, 28, 28)


def test_binarisations_share_a_cache_but_static(mnist_root):
    make = lambda name, seed=0: mnist(str(mnist_root), name, seed, valid=10, verify=False)
    dynamic, threshold, static, other = (
        make("dynamic"),
        make("threshold"),
        make("static"),
        make("static", 1),
    )
    assert dynamic.cache == threshold.cache
    assert len({dynamic.cache, static.cache, other.cache}) == 3
    assert set(np.unique(static.train)) == {0, 255}
    np.testing.assert_array_equal(threshold.mean, (threshold.train > 127).mean(0, dtype="f4"))


@pytest.mark.parametrize("place", ["", "mnist", "raw/mnist", "MNIST/raw"])
def test_usual_folders(tmp_path, images, write_idx, place, monkeypatch):
    for name in ("train", "t10k"):
        write_idx(tmp_path / "d" / place / f"{name}-images-idx3-ubyte", images(5, 28, 28))
    monkeypatch.setenv("FSB_DATA", str(tmp_path / "d"))
    assert len(mnist(valid=1, verify=False).train) == 4


def test_other_images_are_refused_unless_asked_for(mnist_root):
    with pytest.raises(FsbError, match=r"50 images where 60000.*data.verify=false"):
        mnist(str(mnist_root))


def test_the_cache_serves_when_the_files_are_gone(mnist_root):
    mnist(str(mnist_root), valid=10, verify=False)
    shutil.rmtree(mnist_root / "MNIST")
    assert len(mnist(str(mnist_root), valid=10, verify=False).train) == 40
    assert len(mnist(valid=10, verify=False).train) == 40  # nor need the root be said again


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: mnist(), "no train-images.*set data.root=FOLDER or FSB_DATA"),
        (lambda root: mnist(str(root / "nope")), "data.root=.*nope: there is no such folder"),
        (lambda root: mnist(str(root.parent / "empty")), "no train-images.* in .*empty"),
        (lambda root: mnist(str(root), "dynamik"), "did you mean dynamic"),
        (lambda root: mnist(str(root), valid=50, verify=False), "data.valid=50"),
    ],
)
def test_mistakes_are_one_line(mnist_root, make, message):
    (mnist_root.parent / "empty").mkdir()
    with pytest.raises(FsbError, match=message) as error:
        make(mnist_root)
    assert "\n" not in str(error.value)


def test_a_missing_environment_folder_is_named(monkeypatch):
    monkeypatch.setenv("FSB_DATA", "/no/such/folder")
    with pytest.raises(FsbError, match=r"FSB_DATA=/no/such/folder"):
        mnist()


def test_a_damaged_file_is_named(mnist_root):
    path = mnist_root / "MNIST/raw/train-images-idx3-ubyte.gz"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(FsbError, match=f"{path}: damaged, truncated"):
        mnist(str(mnist_root), valid=10, verify=False)


@pytest.mark.slow
def test_real_mnist(real):
    dataset = mnist(real)
    assert [len(x) for x in (dataset.train, dataset.valid, dataset.test)] == [50000, 10000, 10000]
    assert dataset.verified
    assert dataset.train[0].sum() == 27525  # the five that opens the set
    assert dataset.test[0].sum() == 18454  # the seven
    assert dataset.mean.mean() == pytest.approx(0.1310, abs=2e-4)
    start = time.perf_counter()
    mnist(real)
    assert time.perf_counter() - start < 1


@pytest.mark.slow
def test_a_real_image_changed_by_one_bit_is_refused(real, tmp_path, write_idx):
    dataset = mnist(real)
    train = np.concatenate([dataset.train, dataset.valid])
    train[17, 3, 3] ^= 1
    write_idx(tmp_path / "d/train-images-idx3-ubyte", train)
    write_idx(tmp_path / "d/t10k-images-idx3-ubyte", np.asarray(dataset.test))
    with pytest.raises(FsbError, match=r"sha256 differs"):
        mnist(str(tmp_path / "d"))


def test_real_fashion_mnist():
    if not os.path.isdir("/usr/share/datasets/fashion-mnist"):
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    dataset = fashion_mnist()
    assert [len(x) for x in (dataset.train, dataset.valid, dataset.test)] == [50000, 10000, 10000]
    assert dataset.verified
    assert dataset.mean.mean() == pytest.approx(0.286, abs=1e-3)


def test_every_configuration_names_its_factory():
    from omegaconf import OmegaConf

    from fsb.cli.factory import verify
    from fsb.cli.program import configs_dir

    names = {path.stem for path in (configs_dir() / "data").glob("*.yaml")}
    families = {"digits", "mnist", "mnist_static", "omniglot", "fashion_mnist", "cifar10"}
    assert names == families | {"miniimagenet", "faces", "arrays", "images", "tfds"}
    for name in names:
        config = OmegaConf.load(configs_dir() / "data" / f"{name}.yaml")
        assert config._target_ == f"fsb.data.{name}"
        assert callable(getattr(fsb.data, name))
        verify({"data": config}, "data")
