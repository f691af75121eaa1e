"""A run that diverges says so and ends; its last good checkpoint stays."""

import json
import math
from pathlib import Path

import pytest

import fsb.train
from fsb.errors import Diverged
from fsb.training.recorder import Recorder
from runs import TINY, assembled, finished, rows, state, train

WILD = ("optimizer.learning_rate=1e30",)


class Silent:
    """A progress bar."""

    steps_per_second = None

    def note(self, **fields):
        pass

    def update(self, step, **fields):
        pass


def recorder(folder, rows, **changes):
    parts, config = assembled()
    config = config.copy()
    for name, value in changes.items():
        config[name] = value
    made = Recorder(parts, config, folder, None, 0, Silent())
    made.rows = rows
    return made


@pytest.mark.slow
@pytest.mark.parametrize("elbo", [math.nan, math.inf, -math.inf, -1e9, -40_001.0])
def test_what_has_diverged(elbo, tmp_path):
    made = recorder(tmp_path, [{"train_elbo": -40.0}])
    with pytest.raises(
        Diverged, match=r"^diverged: the ELBO is \S+ at step 7; no checkpoint is kep"
    ):
        made.show(7, elbo)
    assert json.loads((tmp_path / "summary.json").read_text())["diverged_at"] == 7


@pytest.mark.parametrize(
    ("elbo", "rows"),
    [(-39_999.0, [{"train_elbo": -40.0}]), (-999.0, [{"train_elbo": 0.1}]), (-1e9, [])],
)
def test_what_has_not(elbo, rows, tmp_path):
    recorder(tmp_path, rows).show(7, elbo)
    assert not (tmp_path / "summary.json").exists()


def test_a_warning_is_given_once(tmp_path, recwarn):
    made = recorder(tmp_path, [{"train_elbo": -40.0}], on_divergence="warn")
    made.show(7, math.nan)
    made.show(8, math.nan)
    assert [str(w.message)[:32] for w in recwarn] == ["diverged: the ELBO is nan at step"[:32]]
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.slow
def test_the_last_good_checkpoint_stays(tmp_path, monkeypatch):
    real = fsb.train.run_steps

    def poisoned(*given):
        state = real(*given)
        return state._replace(loss_sum=state.loss_sum * math.nan) if state.step > 10 else state

    poisoned.lower = real.lower
    monkeypatch.setattr(fsb.train, "run_steps", poisoned)
    with pytest.raises(
        Diverged, match="is nan at step 20; the last checkpoint is that of step 10;"
    ):
        train(tmp_path / "run")
    monkeypatch.setattr(fsb.train, "run_steps", real)
    assert state(tmp_path / "run") == state(finished(), 10)
    assert json.loads((tmp_path / "run/summary.json").read_text())["diverged_at"] == 20
    train(tmp_path / "run")
    assert state(tmp_path / "run") == state(finished())


@pytest.mark.slow
def test_a_run_that_only_warns_goes_to_its_end(tmp_path):
    with pytest.warns(UserWarning, match="diverged: the ELBO is ") as told:
        run = train(tmp_path / "run", *WILD, on_divergence="warn")
    assert len([w for w in told if "diverged" in str(w.message)]) == 1
    assert rows(run)[-1]["step"] == 20


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_job_that_diverged(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    grid = ("optimizer.learning_rate=1e30,1e-4", "hydra.sweep.dir=sweep", "bound_samples=[]")
    with pytest.raises(SystemExit) as caught:
        fsb.train.main([*TINY, "--multirun", *grid])
    assert caught.value.code == 3
    err = capsys.readouterr().err
    assert err.count("fsb: error: diverged: ") == 1
    assert "Traceback" not in err
    first, second = sorted(Path("sweep").glob("[01]_*"))
    assert "diverged_at" in json.loads((first / "summary.json").read_text())
    assert "test_elbo" in json.loads((second / "summary.json").read_text())
