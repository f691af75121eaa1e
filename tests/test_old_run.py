"""A run of commit 19d16fb, made before the modules of fsb were moved."""

import json
import shutil
from pathlib import Path

import pytest

import fsb.estimators
import fsb.evaluate
import fsb.train
from fsb.cli.factory import build
from fsb.cli.saved import load_run_config
from fsb.cli.schema import Train
from fsb.storage.checkpoints import Checkpoints
from fsb.training.setup import reopen
from runs import rows, state

OLD = Path(__file__).parent / "fixtures" / "run_19d16fb"
ESTIMATORS = (  # of which 19d16fb had configurations, with the arguments that had no default
    *({"_target_": f"fsb.estimators.{name}"} for name in (
        "arm", "arms", "bitflip", "darn", "deterministic_st", "disarm", "double_cv", "exact",
        "fini", "fourier_exact", "fourier_series", "foust", "gst", "gumbel_rao", "gumbel_softmax",
        "local_expectation", "muprop", "mve", "nvil", "pathwise", "rebar", "reinforce", "reinmax",
        "relax", "rloo", "rodeo", "st", "st_gumbel_softmax", "ugc", "vimco",
        "weak_reparameterization", "zgr",
    )),
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(OLD, tmp_path / "run")


@pytest.mark.slow
def test_its_checkpoint_is_whole_and_fits_the_state_of_today():
    _, parts = reopen(str(OLD))
    now, step = Checkpoints(OLD / "checkpoints").restore(parts.first_state())
    assert (step, int(now.step)) == (60, 60)


@pytest.mark.slow
def test_it_goes_on(folder):
    before, old = rows(folder), state(folder)
    fsb.train.main([f"resume={folder}", "max_steps=70", "devices=1"])
    assert rows(folder)[:3] == before
    assert [row["step"] for row in rows(folder)] == [0, 30, 60, 70]
    assert state(folder, 60) == old
    assert state(folder)[0] == 70
    last = rows(folder)[-1]
    assert last["train_elbo"] == pytest.approx(before[-1]["train_elbo"], abs=0.5)
    assert json.loads((folder / "summary.json").read_text())["steps"] == 70


@pytest.mark.slow
def test_it_is_judged_as_it_was(folder):
    said = json.loads((folder / "summary.json").read_text())
    fsb.evaluate.main([f"run={folder}", "devices=1", "bound_samples=[5]"])
    found = json.loads((folder / "evaluation" / "test_60" / "evaluation.json").read_text())
    # Both estimates have this error; 180 images are the same in both.
    assert found["elbo_se"] < 1
    assert found["elbo"] == pytest.approx(said["test_elbo"], abs=4 * 2**0.5 * found["elbo_se"])
    noise = 4 * 2**0.5 * said["test_bound_5_se"]
    assert found["test_bound_5"] == pytest.approx(said["test_bound_5"], abs=noise)


@pytest.mark.parametrize("node", ESTIMATORS, ids=lambda node: node["_target_"].rpartition(".")[2])
def test_estimators_have_kept_their_names(node):
    assert isinstance(build({"estimator": node}, "estimator"), fsb.Estimator)


def test_its_logger_has_another_name_today():
    assert "fsb.log.no_logger" in (OLD / "config.yaml").read_text()
    assert load_run_config(OLD, Train).logger["_target_"] == "fsb.storage.loggers.no_logger"
