"""Small files in the formats of the published ones, and the real ones where they are."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

_REAL = os.environ.get("FSB_DATA") or str(Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture(autouse=True)
def _nothing_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("FSB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.delenv("FSB_DATA", raising=False)


@pytest.fixture
def real():
    """The folder of real data: $FSB_DATA, or shared/data beside the checkout."""
    if not (Path(_REAL) / "binarized_mnist.npz").exists():
        pytest.skip("needs the real files: set FSB_DATA")
    return _REAL


@pytest.fixture
def images():
    """``images(n, *shape, seed=0)``: uint8 noise [n, *shape]."""

    def make(*shape, seed=0):
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return make


@pytest.fixture
def write_idx():
    """``write_idx(path, images)``: an idx file, gzipped where the name ends in .gz."""

    def write(path, x):
        path.parent.mkdir(parents=True, exist_ok=True)
        content = struct.pack(">IIII", 0x803, *x.shape) + x.tobytes()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)

    return write


@pytest.fixture
def mnist_root(tmp_path, images, write_idx):
    """A folder with 50 training and 20 test images in MNIST's files, not the published ones."""
    root = tmp_path / "root"
    write_idx(root / "MNIST/raw/train-images-idx3-ubyte.gz", images(50, 28, 28))
    write_idx(root / "MNIST/raw/t10k-images-idx3-ubyte", images(20, 28, 28, seed=1))
    return root
