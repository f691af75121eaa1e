import numpy as np
import pytest
from scipy.io import savemat

from fsb.data import omniglot
from fsb.errors import FsbError


def test_chardata_is_turned_upright(tmp_path, images):
    train, test = images(10, 28, 28), images(4, 28, 28, seed=1)
    columns = {
        name: x.swapaxes(1, 2).reshape(len(x), 784).T / 255.0
        for name, x in (("data", train), ("testdata", test))
    }
    savemat(tmp_path / "chardata.mat", columns)
    dataset = omniglot(str(tmp_path), valid=3, verify=False)
    np.testing.assert_array_equal(dataset.train, train[:7])
    np.testing.assert_array_equal(dataset.valid, train[7:])
    np.testing.assert_array_equal(dataset.test, test)
    assert dataset.notes == ""
    with pytest.raises(FsbError, match=r"10 images where 24345"):
        omniglot(str(tmp_path))


def test_a_damaged_mat_file_is_named(tmp_path):
    (tmp_path / "chardata.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(FsbError, match=r"chardata.mat"):
        omniglot(str(tmp_path))


@pytest.mark.slow
def test_real_reconstruction(real):
    dataset = omniglot(real)
    assert [len(x) for x in (dataset.train, dataset.valid, dataset.test)] == [23000, 1345, 8070]
    assert dataset.notes == "reconstructed split"
    assert dataset.verified
    assert dataset.mean.mean() == pytest.approx(0.0835, abs=1e-3)
    fixed = omniglot(real, binarisation="static")
    assert set(np.unique(fixed.test)) == {0, 255}
