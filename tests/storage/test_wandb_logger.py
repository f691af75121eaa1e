"""Weights & Biases gets what the run has, and cannot harm it."""

import os
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
import yaml

from fsb.cli.program import configs_dir
from fsb.errors import FsbError
from fsb.storage.loggers import wandb_logger
from runs import TINY

CONFIG = {"estimator": {"_target_": "fsb.estimators.foust", "delta": 0.1}, "seed": 3}
IMAGE = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


class Run:
    def __init__(self, fake):
        self.fake = fake

    def define_metric(self, name, **how):
        self.fake.metrics[name] = how

    def log(self, row):
        self.fake.calls += 1
        if self.fake.broken_log:
            raise RuntimeError("log is broken\nsecond line")
        self.fake.rows.append(row)

    def finish(self):
        self.fake.finished += 1
        if self.fake.broken_finish:
            raise RuntimeError("finish is broken")


@pytest.fixture
def fake(monkeypatch):
    """A stand-in for the package: nothing here may reach a network."""
    wandb = types.ModuleType("wandb")
    wandb.run, wandb.rows, wandb.inits, wandb.metrics = None, [], [], {}
    wandb.calls = wandb.finished = wandb.torn_down = 0
    wandb.broken_log = wandb.broken_finish = False
    wandb.broken_modes, wandb.logged_in = (), True
    wandb.Image = lambda image, caption: (caption, image.shape)
    wandb.Settings = lambda **settings: settings
    wandb.setup = lambda settings: None
    wandb.login = lambda **_: wandb.logged_in

    def init(**arguments):
        wandb.inits.append(arguments)
        if arguments["mode"] in wandb.broken_modes:
            raise ConnectionError(f"{arguments['mode']} is broken")
        return Run(wandb)

    def teardown():
        wandb.torn_down += 1

    wandb.init, wandb.teardown = init, teardown
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    return wandb


def test_what_a_run_gets(fake, tmp_path):
    config = {**CONFIG, "data": {"_target_": "fsb.data.mnist"}}
    logger = wandb_logger(tmp_path, config, project="p", tags=["a"])
    logger.log(7, {"elbo": -1.5}, {"samples": IMAGE})
    logger.finish()
    logger.finish()
    about = "mnist foust, seed 3"
    picture = (f"samples, step 7: {about}", (2, 2, 3))
    assert fake.rows == [{"elbo": -1.5, "samples": picture, "step": 7}]
    assert fake.finished == 1
    (init,) = fake.inits
    assert init["mode"] == "offline"
    told = init["config"].pop("provenance")
    assert init["config"] == config
    assert {"git_commit", "device", "versions"} <= told.keys()
    assert init["name"] == about
    assert init["job_type"] == "train"
    assert fake.metrics["*"] == {"step_metric": "step"}
    assert fake.metrics["valid_elbo"] == {"step_metric": "step", "summary": "max,last"}
    assert fake.metrics["gradient_variance"]["summary"] == "min,last"
    assert init["group"] == "foust"
    assert init["project"] == "p"
    assert init["tags"] == ["a"]
    assert init["dir"] == str(tmp_path)
    assert init["reinit"] == "create_new"


def test_a_group_of_ones_own(fake, tmp_path):
    wandb_logger(tmp_path, CONFIG, group="mine")
    wandb_logger(tmp_path, {"seed": 1})
    assert [init["group"] for init in fake.inits] == ["mine", None]


def test_a_run_of_an_agent_has_the_agents_id(fake, tmp_path, monkeypatch):
    """Of a run alone; the members of a sweep, several runs of one call, have their own."""
    monkeypatch.setenv("WANDB_RUN_ID", "given")
    wandb_logger(tmp_path / "no_sweep", CONFIG)
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    wandb_logger(tmp_path / "a", CONFIG)
    wandb_logger(tmp_path / "b", CONFIG, name="3_seed-1", job_type="member")
    ids = [init["id"] for init in fake.inits]
    assert ids[1] == "given" not in (ids[0], ids[2])
    assert fake.inits[2]["name"] == "3_seed-1"
    monkeypatch.delenv("WANDB_RUN_ID")
    wandb_logger(tmp_path / "a", CONFIG)  # resumed by hand
    assert fake.inits[3]["id"] == "given"


def test_a_resumed_run_keeps_its_id(fake, tmp_path):
    for mode in ("online", "online", "offline"):
        wandb_logger(tmp_path / "a", CONFIG, mode=mode)
    wandb_logger(tmp_path / "b", CONFIG)
    ids = [init["id"] for init in fake.inits]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert [init.get("resume") for init in fake.inits] == ["allow", "allow", None, None]


def test_online_is_bounded_and_falls_back(fake, tmp_path):
    fake.broken_modes = ("online",)
    with pytest.warns(UserWarning, match="online is broken; going on offline") as caught:
        logger = wandb_logger(tmp_path, CONFIG, mode="online", init_timeout=2.0)
    assert len(caught) == 1
    assert [init["mode"] for init in fake.inits] == ["online", "offline"]
    assert fake.inits[0]["settings"]["init_timeout"] == 2.0
    assert fake.torn_down == 1
    logger.log(1, {"elbo": 1.0})
    assert len(fake.rows) == 1


def test_online_without_a_login_asks_nobody(fake, tmp_path):
    fake.logged_in = False
    with pytest.warns(UserWarning, match="not logged in"):
        wandb_logger(tmp_path, CONFIG, mode="online")
    assert [init["mode"] for init in fake.inits] == ["offline"]


def test_a_run_goes_on_where_nothing_works(fake, tmp_path):
    fake.broken_modes = ("online", "offline")
    with pytest.warns(UserWarning, match="offline is broken; going on without"):
        logger = wandb_logger(tmp_path, CONFIG)
    logger.log(1, {"elbo": 1.0})
    logger.finish()
    assert fake.calls == fake.finished == 0


def test_a_failing_log_is_one_warning(fake, tmp_path):
    logger = wandb_logger(tmp_path, CONFIG)
    fake.broken_log = True
    with pytest.warns(UserWarning, match=r"log is broken; going on without$") as caught:
        logger.log(1, {"elbo": 1.0})
    assert len(caught) == 1
    logger.log(2, {"elbo": 1.0})
    assert fake.calls == 1
    logger.finish()


def test_a_failing_finish_is_one_warning(fake, tmp_path):
    logger = wandb_logger(tmp_path, CONFIG)
    fake.broken_finish = True
    with pytest.warns(UserWarning, match="finish is broken"):
        logger.finish()


def test_only_the_first_process_logs(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    wandb_logger(tmp_path, CONFIG).log(1, {"elbo": 1.0})
    assert fake.inits == []
    assert list(tmp_path.iterdir()) == []


def test_the_package_may_be_absent(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(FsbError, match="needs the package wandb; or take logger=none"):
        wandb_logger(tmp_path, CONFIG)


REAL = """
import sys, numpy as np
from fsb.storage.loggers import wandb_logger
assert "wandb" not in sys.modules
for folder in sys.argv[1:]:
    logger = wandb_logger(folder, {"estimator": {"_target_": "fsb.foust"}, "seed": 3})
    for step in (10, 20, 5):
        logger.log(step, {"elbo": -float(step)}, {"samples": np.zeros((4, 4, 3), np.uint8)})
    logger.finish()
"""


@pytest.mark.slow
def test_offline_for_real(tmp_path):
    """Two runs of a sweep in one process, then the first one again, resumed."""
    folders = [str(tmp_path / name) for name in ("a", "b", "a")]
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", REAL, *folders],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
    for name, runs in (("a", 2), ("b", 1)):
        identity = (tmp_path / name / "wandb" / "run_id").read_text().strip()
        found = list((tmp_path / name / "wandb").glob(f"offline-run-*-{identity}*"))
        assert len(found) == runs
        for run in found:
            assert len(list(run.glob("files/media/images/samples_*.png"))) >= 1
            assert (run / f"run-{identity}.wandb").stat().st_size > 1000


def agents_command(chosen):
    """What an agent of `wandb sweep configs/sweep.yaml` would call for these parameters."""
    from wandb.sdk.launch.sweeps import utils

    sweep = yaml.safe_load((configs_dir() / "sweep.yaml").read_text())
    assert chosen.keys() == sweep["parameters"].keys()
    given = utils.create_sweep_command_args({"args": {k: {"value": v} for k, v in chosen.items()}})
    command = []
    for word in utils.create_sweep_command(sweep["command"]):
        command += given[word[2:-1]] if word.startswith("${") else [word]
    return command


@pytest.mark.slow
def test_the_command_of_an_agent(tmp_path):
    """Offline, for nobody is logged in: the run has the agent's id and a name that tells it."""
    chosen = {"data": "digits", "model": "vae", "estimator": "st", "optimizer.learning_rate": 1e-4,
              "seed": 2}  # fmt: skip
    python, *rest = agents_command(chosen)
    assert python == "python"
    small = ("max_steps=2", "bound_samples=[]", "eval_examples=16", "hydra.run.dir=run")
    command = [sys.executable, *rest, *TINY, *small]
    cache = os.environ.get("FSB_CACHE", os.path.expanduser("~/.cache/fsb"))
    home = {"HOME": str(tmp_path), "FSB_CACHE": cache, "WANDB_SWEEP_ID": "sweep1",
            "WANDB_RUN_ID": "given123"}  # fmt: skip
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    options = {"capture_output": True, "text": True, "timeout": 300, "cwd": tmp_path}
    done = subprocess.run(command, env={**kept, **home}, check=False, **options)
    assert done.returncode == 0, done.stderr
    assert "not logged in" in done.stderr
    assert (tmp_path / "run" / "summary.json").exists()
    assert (tmp_path / "run/wandb/run_id").read_text() == "given123\n"
    assert len(list((tmp_path / "run/wandb").glob("offline-run-*-given123"))) == 1
