"""A file is the old one or the new one, never half of either."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from fsb.errors import FsbError
from fsb.storage.atomic import write_json_atomic, write_text_atomic


def test_text_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")
    write_text_atomic(path, "nats π\r\n")
    assert path.read_bytes() == "nats π\r\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(FsbError, match=r"cannot write .*a.txt: disk full$"):
        write_text_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(FsbError, match=r"cannot write .*: No such file or directory$"):
        write_text_atomic(tmp_path / "none" / "a.txt", "text")


def test_json_takes_arrays_and_numbers_that_are_not_finite(tmp_path):
    content = {
        "elbo": np.float32(0.1),
        "n": jnp.int32(3),
        "per_layer": jnp.array([1.0, jnp.nan]),
        "rate": float("inf"),
        "flag": True,
        "nested": {"path": tmp_path, "none": None, 3: (1, "zwei")},
    }
    write_json_atomic(tmp_path / "a.json", content)
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "elbo": float(np.float32(0.1)),
        "n": 3,
        "per_layer": [1.0, None],
        "rate": None,
        "flag": True,
        "nested": {"path": str(tmp_path), "none": None, "3": [1, "zwei"]},
    }
