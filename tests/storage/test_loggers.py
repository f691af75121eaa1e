"""The metrics file reads back exactly, whatever happened to the run that wrote it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from fsb.errors import FsbError
from fsb.storage import loggers
from fsb.storage.metrics_file import MetricsFile


@pytest.fixture
def file(tmp_path):
    return MetricsFile(tmp_path / "metrics.csv")


def test_rows_read_back_exactly(file):
    rows = [
        {"step": 1, "elbo": 0.1 + 0.2, "tiny": 5e-324, "note": 'two, "three"'},
        {"step": 2, "elbo": -1e300, "tiny": -0.0, "note": "four"},
    ]
    for row in rows:
        file.append(row)
    assert file.read() == rows
    assert math.copysign(1, file.read()[1]["tiny"]) == -1
    assert isinstance(file.read()[0]["step"], int)
    assert isinstance(MetricsFile(file.path).read()[0]["elbo"], float)


def test_arrays_and_numbers_that_are_not_finite(file):
    file.append({"step": jnp.int32(3), "a": np.float32(0.1), "b": jnp.inf, "c": np.nan, "d": None})
    (row,) = file.read()
    assert math.isnan(row.pop("c"))
    assert row == {"step": 3, "a": float(np.float32(0.1)), "b": math.inf}


def test_a_line_is_on_disk_at_once(file):
    file.append({"step": 1})
    file.append({"step": 2})
    assert file.path.read_text() == "step\n1\n2\n"


def test_the_header_grows(file):
    file.append({"step": 1, "train": 1.0})
    file.append({"step": 2, "test": 2.0})
    file.append({"step": 3, "train": 3.0})
    assert file.path.read_text() == "step,train,test\n1,1.0,\n2,,2.0\n3,3.0,\n"
    assert file.read()[1] == {"step": 2, "test": 2.0}


def test_a_half_written_line_is_dropped(file):
    file.append({"step": 1, "elbo": -1.25})
    file.append({"step": 2, "elbo": -1.125})
    whole = file.path.read_bytes()
    second = whole.index(b"\n2") + 1
    for end in range(second, len(whole)):
        file.path.write_bytes(whole[:end])
        killed = MetricsFile(file.path)
        assert killed.read() == [{"step": 1, "elbo": -1.25}]
        killed.append({"step": 2, "elbo": -1.125})
        assert file.path.read_bytes() == whole


def test_truncate(file):
    file.truncate(3)
    assert not file.path.exists()
    for step in range(1, 6):
        file.append({"step": step})
    file.append({"step": 6, "test_elbo": -1.0})
    resumed = MetricsFile(file.path)
    resumed.truncate(4)
    assert [row["step"] for row in resumed.read()] == [1, 2, 3, 4]
    resumed.append({"step": 5})
    assert file.path.read_text() == "step\n1\n2\n3\n4\n5\n"
    resumed.truncate(0)
    assert resumed.read() == []
    resumed.append({"step": 1, "elbo": 0.5})
    assert resumed.read() == [{"step": 1, "elbo": 0.5}]


def test_files_that_cannot_be_used(file, tmp_path):
    with pytest.raises(FsbError, match=r"cannot write .*metrics.csv"):
        MetricsFile(tmp_path / "none" / "metrics.csv").append({"step": 1})
    file.path.write_bytes(b"step\n\xff\xfe\n")
    with pytest.raises(FsbError, match=r"cannot read .*metrics.csv") as caught:
        file.read()
    assert "\n" not in str(caught.value)


def test_only_the_first_process_writes(file, monkeypatch):
    file.append({"step": 1})
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    file.append({"step": 2})
    file.truncate(0)
    assert file.read() == [{"step": 1}]


def test_no_logger_takes_everything_and_writes_nothing(tmp_path):
    logger = loggers.no_logger(tmp_path, {"seed": 1})
    assert not logger.pictures  # so that none is made
    logger.log(1, {"elbo": 1.0}, {"samples": np.zeros((2, 2), np.uint8)})
    logger.log(2, {})
    logger.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_mode_names_the_right_ones(tmp_path):
    with pytest.raises(FsbError, match=r"logger.mode: unknown 'ofline'; did you mean offline\?"):
        loggers.wandb_logger(tmp_path, {}, mode="ofline")


def test_disabled_writes_nothing(tmp_path):
    logger = loggers.wandb_logger(tmp_path, {}, mode="disabled")
    logger.log(1, {"elbo": 1.0})
    logger.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["none", "wandb"])
def test_configs_name_a_factory_and_its_arguments(name, pytestconfig, tmp_path):
    text = (pytestconfig.rootpath / "configs" / "logger" / f"{name}.yaml").read_text()
    entries = yaml.safe_load(text)
    module, factory = entries.pop("_target_").rsplit(".", 1)
    assert module == "fsb.storage.loggers"
    if name == "wandb":
        assert entries["mode"] == "offline"
        entries["mode"] = "disabled"
    getattr(loggers, factory)(tmp_path, {"seed": 1}, **entries).finish()
