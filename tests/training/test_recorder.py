"""What a run writes down."""

import dataclasses
import math
import time

import jax
import numpy as np
import pytest

from fsb.data.preprocess import choose
from fsb.errors import FsbError
from fsb.optimizers import adam, sgd
from fsb.storage.loggers import no_logger
from fsb.storage.metrics_file import MetricsFile
from fsb.training import recorder
from fsb.training.recorder import Recorder
from fsb.training.results import bits, subset
from runs import assembled


class Bar:
    """A progress bar that keeps what it is told."""

    steps_per_second = 12.5

    def __init__(self):
        self.told = []

    def note(self, **fields):
        pass

    def update(self, step, **fields):
        self.told.append((step, fields))


class Listening:
    """A logger that keeps what it is given."""

    pictures = True

    def __init__(self):
        self.given = []

    def log(self, step, metrics, images):
        self.given.append((step, metrics, images))


@pytest.fixture
def parts():
    return assembled()[0]


def new_recorder(folder, step=0, log=None):
    parts, config = assembled()
    return Recorder(parts, config, folder, log or no_logger(), step, Bar())


@pytest.mark.slow
def test_a_row_goes_to_the_file_the_bar_and_the_logger(parts, tmp_path):
    log = Listening()
    made = new_recorder(tmp_path, log=log)
    bar = made.bar
    assert (made.rows, made.score) == ([], None)
    state = parts.first_state()._replace(step=jax.numpy.int32(4), loss_sum=jax.numpy.float32(120))
    after = made.log_row(state)
    (row,) = MetricsFile(tmp_path / "metrics.csv").read()
    assert row == made.rows[0]
    assert row["train_objective"] == -30.0  # 120 nats over 4 steps
    assert row["steps_per_second"] == 12.5
    assert bar.told == [(4, {"test ELBO": row["test_elbo"]})]
    ((step, metrics, images),) = log.given
    assert (step, metrics) == (4, row)
    assert sorted(images) == ["reconstructions", "samples"]
    assert images["samples"].dtype == "uint8"
    assert made.score == row["valid_elbo"]
    assert float(after.loss_sum) == 0
    # the next window begins where this row ends
    assert "data_wait" not in row
    made._waited, made._last = 100.0, time.monotonic() - 400
    made.log_row(after._replace(step=jax.numpy.int32(6), loss_sum=jax.numpy.float32(50)))
    assert made.rows[1]["train_objective"] == -25.0
    assert made.rows[1]["data_wait"] == pytest.approx(0.25, rel=0.1)
    assert made._waited == 0


def test_the_row_before_the_first_step_has_no_objective(parts, tmp_path):
    made = new_recorder(tmp_path)
    made.log_row(parts.first_state())
    assert "train_objective" not in made.rows[0]
    assert made.rows[0]["train_elbo"] < 0


@pytest.mark.slow
def test_a_resumed_record_goes_on(tmp_path):
    table = MetricsFile(tmp_path / "metrics.csv")
    for step, score in ((0, -9.0), (10, -8.0), (20, -7.0)):
        table.append({"step": step, "valid_elbo": score, "wall_seconds": 100.0 + step})
    made = new_recorder(tmp_path, step=10)
    assert [row["step"] for row in made.rows] == [row["step"] for row in table.read()] == [0, 10]
    assert made.score == -8.0  # by which the next checkpoint is ranked
    made.log_row(assembled()[0].first_state()._replace(step=jax.numpy.int32(12)))
    assert 110 < made.rows[-1]["wall_seconds"] < 140


def test_another_process_does_not_read_what_the_first_one_will_remove(tmp_path, monkeypatch):
    table = MetricsFile(tmp_path / "metrics.csv")
    for step in (0, 10, 20):
        table.append({"step": step, "valid_elbo": -1.0 * step, "wall_seconds": 1.0})
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    made = new_recorder(tmp_path, step=10)
    assert [row["step"] for row in made.rows] == [0, 10]
    assert made.score == -10.0
    assert len(table.read()) == 3


def test_bits_per_dimension_where_they_apply(parts):
    assert bits(parts, -64.0, "bits") == {}  # binary pixels
    preprocess = choose("dequantised", 0)
    parts = parts._replace(data=dataclasses.replace(parts.data, preprocess=preprocess))
    assert bits(parts, -64.0 * math.log(2), "bits") == pytest.approx({"bits": 9.0})
    parts = parts._replace(data=dataclasses.replace(parts.data, preprocess=choose("levels")))
    assert bits(parts, -64.0 * math.log(2), "bits") == pytest.approx({"bits": 1.0})


@pytest.mark.parametrize("optimizer", [sgd(2e-3), adam(2e-3)])
def test_the_learning_rate(optimizer):
    state = optimizer.init({"w": jax.numpy.ones(3)})
    assert recorder.learning_rate(state) == pytest.approx(2e-3)
    assert recorder.learning_rate({"no": "rate"}) is None


def test_a_subset_is_spread_over_the_set():
    images = np.arange(10)
    assert subset(images, 10) is images
    assert subset(images, 4).tolist() == [0, 3, 6, 9]
    assert subset(images, 1).tolist() == [0]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"step": 0, "train_elbo": 1.0, "valid_elbo": 2.0, "wall_seconds": 3.0}, "for test_elbo"),
        (dict.fromkeys(recorder.NEEDED, 1.0) | {"step": "ten"}, "for step"),
        (dict.fromkeys(recorder.NEEDED, 1.0) | {"kl_1": "much"}, "for kl_1"),
    ],
)
def test_the_numbers_of_a_run(row, says, tmp_path):
    path = tmp_path / "metrics.csv"
    recorder.require_rows(path)  # none yet
    table = MetricsFile(path)
    table.append(dict.fromkeys(recorder.NEEDED, 1.0))
    recorder.require_rows(path)
    table.append(row)
    with pytest.raises(FsbError, match=rf"metrics.csv: row 2 has no number {says}$"):
        recorder.require_rows(path)
