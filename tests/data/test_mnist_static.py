import numpy as np
import pytest

from fsb.data import mnist_static
from fsb.errors import FsbError

COUNTS = {"train": 6, "valid": 3, "test": 2}


@pytest.fixture
def bits():
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 2, (n, 784), dtype=np.uint8) for name, n in COUNTS.items()}


def write_amat(folder, bits):
    for split, x in bits.items():
        lines = "".join(" ".join(map(str, row)) + " \n" for row in x)
        (folder / f"binarized_mnist_{split}.amat").write_text(lines)


def write_packed(folder, bits):
    packed = {f"{split}_bits": np.packbits(x, axis=1) for split, x in bits.items()}
    np.savez(folder / "binarized_mnist.npz", **packed)


@pytest.mark.parametrize("write", [write_amat, write_packed])
def test_both_forms(tmp_path, bits, write, key):
    write(tmp_path, bits)
    dataset = mnist_static(str(tmp_path), verify=False)
    for split in COUNTS:
        np.testing.assert_array_equal(getattr(dataset, split).reshape(-1, 784), bits[split] * 255)
    x = dataset.preprocess.apply(key, dataset.train)
    np.testing.assert_array_equal(np.asarray(x).reshape(-1, 784), bits["train"])
    np.testing.assert_allclose(dataset.mean.ravel(), bits["train"].mean(0), rtol=1e-6)


def test_text_that_is_not_bits_is_named(tmp_path, bits):
    write_amat(tmp_path, bits)
    (tmp_path / "binarized_mnist_valid.amat").write_text("0 1 7 \n")
    with pytest.raises(FsbError, match=r"binarized_mnist_valid.amat"):
        mnist_static(str(tmp_path), verify=False)


def test_a_file_without_a_split_is_named(tmp_path, bits):
    write_packed(tmp_path, {"train": bits["train"]})
    with pytest.raises(FsbError, match=r"binarized_mnist.npz.*valid_bits"):
        mnist_static(str(tmp_path), verify=False)


@pytest.mark.slow
def test_real_files(real):
    dataset = mnist_static(real)
    assert [len(x) for x in (dataset.train, dataset.valid, dataset.test)] == [50000, 10000, 10000]
    assert dataset.verified
    assert set(np.unique(dataset.test)) == {0, 255}
    assert dataset.mean.mean() == pytest.approx(0.1306, abs=1e-3)
