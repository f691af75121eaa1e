import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from fsb.data.pickles import load_arrays
from fsb.errors import FsbError


def save(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_and_containers_come_back(tmp_path, images, protocol, order):
    x = np.asarray(images(5, 4, 3), order=order)
    value = {"image_data": x, "class_dict": OrderedDict(n01=[0, 1], n02=[np.int64(2), 3, 4])}
    got = load_arrays(save(tmp_path / "x.pkl", value, protocol))
    np.testing.assert_array_equal(got["image_data"], x)
    assert got["image_data"].dtype == np.uint8
    assert got["class_dict"] == {"n01": [0, 1], "n02": [2, 3, 4]}


def test_byte_order_is_kept(tmp_path):
    x = np.arange(6, dtype=">i4").reshape(2, 3)
    np.testing.assert_array_equal(load_arrays(save(tmp_path / "x.pkl", x)), x)


def test_bytes_of_python_2(tmp_path):
    # numpy.core.multiarray._reconstruct(numpy.ndarray, (0,), 'b'), state with a Python 2 str
    text = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I3\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\n"
        b"S'\\x01\\xff\\x80'\ntb."
    )
    (tmp_path / "x.pkl").write_bytes(text)
    assert load_arrays(tmp_path / "x.pkl").tolist() == [1, 255, 128]


class Evil:
    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize("call", [os.system, eval, exec, getattr, open, np.load, bytearray])
def test_a_malicious_pickle_is_refused_and_nothing_runs(tmp_path, call):
    path = save(tmp_path / "x.pkl", {"image_data": Evil(call, f"touch {tmp_path}/ran")})
    with pytest.raises(FsbError, match=r"x\.pkl: refused, as it would call") as error:
        load_arrays(path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "dtype", [np.dtype("O"), np.dtype([("a", "O")]), np.dtype("U3"), np.dtype("M8[s]")]
)
def test_arrays_of_objects_are_refused(tmp_path, dtype):
    with pytest.raises(FsbError, match=r"x\.pkl"):
        load_arrays(save(tmp_path / "x.pkl", np.zeros(2, dtype)))


def test_a_truncated_or_recursive_pickle_is_named(tmp_path, images):
    path = save(tmp_path / "x.pkl", images(50, 4))
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(FsbError, match=r"x\.pkl: damaged"):
        load_arrays(path)
    loop: list = []
    loop.append(loop)
    with pytest.raises(FsbError, match=r"x\.pkl: damaged"):
        load_arrays(save(path, loop))


def test_a_forged_shape_is_refused(tmp_path):
    content = pickle.dumps(np.zeros((3, 4), np.uint8), protocol=2)
    forged = content.replace(b"K\x03K\x04\x86", b"K\x7fK\x7f\x86")
    assert forged != content
    (tmp_path / "x.pkl").write_bytes(forged)
    with pytest.raises(FsbError, match=r"x\.pkl"):
        load_arrays(tmp_path / "x.pkl")
