"""A run of the training program, from its command line to what its folder holds."""

import gzip
import json
import re

import jax
import pytest
import yaml
from omegaconf import OmegaConf

import fsb.train
from fsb.cli.program import preflight
from fsb.cli.saved import load_run_config
from fsb.cli.schema import Train
from fsb.training import setup
from runs import TINY, finished, main, rows, state, train


@pytest.mark.slow
def test_numbers_depend_neither_on_the_chunks_nor_on_a_profile(tmp_path, capsys):
    whole = train(tmp_path / "whole", steps_per_call=100, keep_last=9)
    profiled = {"steps_per_call": 7, "profile": 5}
    for changes in ({"steps_per_call": 1}, profiled, {"checkpoint_every": 3}):
        cut = train(tmp_path / str(changes), **changes, keep_last=9)
        assert state(cut) == state(whole)
        assert rows(cut) == rows(whole)
        if "checkpoint_every" not in changes:
            assert state(cut, 10) == state(whole, 10)
    assert [row["step"] for row in rows(whole)] == [0, 10, 20]
    (trace,) = (tmp_path / str(profiled)).glob("profile/plugins/profile/*/perfetto_trace.json.gz")
    assert "run_steps" in gzip.decompress(trace.read_bytes()).decode()
    (line,) = (s for s in capsys.readouterr().out.splitlines() if s.startswith("profile"))
    # after the chunk of steps 1 to 7: those of 8 to 10, and of 11 to 17
    assert line.startswith(f"profile of steps 8 to 17: {tmp_path / str(profiled)}/profile; open it")
    assert state(whole, 10)[1] != state(whole, 20)[1]


@pytest.mark.slow
def test_a_run_compiles_its_steps_once(tmp_path, caplog):
    with jax.log_compiles():  # chunks of 6, 4, 6, 4 and 3 steps
        train(tmp_path / "run", steps_per_call=6, max_steps=23, checkpoint_every=100)
    found = [text for text in caplog.messages if re.match(r"Compiling.*\brun_steps\b", text)]
    assert len(found) == 1


@pytest.mark.slow
def test_jobs_that_differ_in_the_seed_share_their_programs(tmp_path, caplog):
    main(tmp_path / "first", "seed=1")
    with jax.log_compiles():
        main(tmp_path / "second", "seed=2")
    found = [text for text in caplog.messages if text.startswith("Compiling")]
    assert not found, found[:3]


@pytest.mark.slow
def test_old_programs_are_freed(monkeypatch):
    freed = []
    monkeypatch.setattr(jax, "clear_caches", lambda: freed.append(1))
    setup._recipe.cache_clear()
    for rate in range(1, 2 * setup.KEPT + 1):
        (config,) = preflight("train", [*TINY, f"optimizer.learning_rate={rate}e-4"], Train)
        setup.assemble(config)
    assert len(freed) == 2
    setup._recipe.cache_clear()


@pytest.mark.slow
def test_own_modules_are_built_anew(tmp_path, monkeypatch):
    (tmp_path / "own_rules.py").write_text("import fsb\n\ndef mine():\n    return fsb.st()\n")
    monkeypatch.syspath_prepend(tmp_path)
    given = ["modules=[own_rules]", "estimator._target_=own_rules.mine", "estimator=st"]
    (config,) = preflight("train", [*TINY, *given], Train)
    one, other = setup.assemble(config).recipe, setup.assemble(config).recipe
    assert one.estimator is not other.estimator
    (config,) = preflight("train", [*TINY], Train)
    assert setup.assemble(config).recipe is setup.assemble(config).recipe


SUMMARY = (
    *("train_elbo", "test_elbo", "test_bound_2", "steps", "steps_per_second", "wall_seconds"),
    *("parameters", "estimator", "data", "model", "seed", "git_commit", "device", "versions"),
)


def test_what_a_run_folder_holds():
    folder = finished()
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "curves.png",
        "metrics.csv",
        "reconstructions.png",
        "samples.png",
        "summary.json",
    ]
    for name in ("curves", "reconstructions", "samples"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["10", "20"]
    summary = json.loads((folder / "summary.json").read_text())
    assert set(SUMMARY) <= summary.keys()
    last = rows(folder)[-1]
    assert summary["steps"] == last["step"] == 20
    assert summary["test_elbo"] == last["test_elbo"]
    assert summary["test_bound_2"] > summary["test_elbo"] - 5 * summary["test_bound_2_se"]
    assert summary["estimator"]["_target_"] == "fsb.estimators.foust"
    assert summary["model"]["width"] == 8
    # up: 64-8-8 and 8-8-8; down: 8-8-64 and 8-8-8; the prior: 8
    assert summary["parameters"] == (64 * 8 + 8 + 72) + 144 + (72 + 8 * 64 + 64) + 144 + 8


@pytest.mark.slow
def test_the_bounds_of_the_defaults_are_in_the_summary():
    (config,) = preflight("train", [], Train)
    assert config.bound_samples == [100, 200]  # test_bound_100, test_bound_200


def test_what_a_row_holds():
    for row in rows(finished())[1:]:
        for name in ("train_objective", "train_elbo", "valid_elbo", "test_elbo"):
            assert -200 < row[name] < 0
        assert row["kl_1"] > 0
        assert row["kl_2"] > 0
        assert 0 <= row["active_1"] <= 8
        assert row["gradient_norm"] > 0
        assert row["gradient_variance"] > 0
        assert row["learning_rate"] == pytest.approx(6e-4)
        assert row["epoch"] == pytest.approx(row["step"] * 16 / 1437)


@pytest.mark.slow
def test_the_configuration_opens_again():
    folder = finished()
    again = load_run_config(folder, Train)
    (given,) = preflight("train", list(TINY), Train)
    assert OmegaConf.to_container(again) == OmegaConf.to_container(given)
    assert yaml.safe_load((folder / "config.yaml").read_text())["resume"] is None


@pytest.fixture
def untrained(monkeypatch, tmp_path):
    """The program without its training; a list of the folders it would have trained in."""
    folders = []
    monkeypatch.setattr(
        fsb.train, "train", lambda parts, config, folder, log: folders.append(folder)
    )
    monkeypatch.chdir(tmp_path)
    return folders


@pytest.mark.slow
def test_runs_of_one_second_do_not_meet(untrained, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    text = "# @package _global_\nhydra: {run: {dir: now}}\n"  # a default folder, without the time
    (tmp_path / "mine" / "experiment" / "fixed.yaml").write_text(text)
    for _ in range(3):
        fsb.train.main([*TINY, "--config-dir", "mine", "experiment=fixed"])
    assert [folder.name for folder in untrained] == ["now", "now-2", "now-3"]
    for folder in untrained:
        assert (folder / "config.yaml").exists()


@pytest.mark.slow
def test_the_default_folder_names_the_run(untrained, tmp_path, capsys):
    fsb.train.main([*TINY, "estimator=darn"])
    (folder,) = untrained
    layers = "4 deterministic and 2 stochastic layers, 16 stochastic bits an image"
    assert capsys.readouterr().out.endswith(f"parameters, {layers}\n")
    assert folder.parent.parent == tmp_path / "runs"
    assert folder.name.endswith("_digits_vae_darn")


@pytest.mark.slow
def test_a_folder_that_is_taken_stays_as_it_is(untrained, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "metrics.csv").write_text("mine")
    with pytest.raises(SystemExit, match="2"):
        main("mine")
    error = capsys.readouterr().err
    assert error.startswith("fsb: error: run folder ")
    assert "is not empty" in error
    assert untrained == []
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["metrics.csv"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.slow
def test_a_sweep_makes_one_whole_folder_a_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = ["estimator=st,foust", "optimizer.learning_rate=1e-4,6e-4"]
    fsb.train.main([*TINY, "--multirun", "hydra.sweep.dir=sweep", *grid])
    folders = [path for path in sorted(tmp_path.glob("sweep/*")) if path.is_dir()]
    found = set()
    for folder in folders:
        summary = json.loads((folder / "summary.json").read_text())
        config = yaml.safe_load((folder / "config.yaml").read_text())
        rate = config["optimizer"]["learning_rate"]
        found.add((summary["estimator"]["_target_"], rate))
        names = {path.name for path in folder.iterdir()}
        assert names == {path.name for path in finished().iterdir()}
        assert [row["step"] for row in rows(folder)] == [0, 10, 20]
        assert rows(folder)[-1]["learning_rate"] == pytest.approx(
            config["optimizer"]["learning_rate"]
        )
    names = ("fsb.estimators.st", "fsb.estimators.foust")
    assert found == {(name, rate) for name in names for rate in (1e-4, 6e-4)}
    assert len(folders) == 4


@pytest.mark.slow
def test_wandb_offline_needs_no_login_and_stays_in_the_folder(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_DIR", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = main("run", "logger=wandb", "max_steps=10")
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["run"]
    identity = (folder / "wandb" / "run_id").read_text().strip()
    fsb.train.main([f"resume={folder}", "max_steps=20"])
    offline = list((folder / "wandb").glob("offline-run-*"))
    assert len(offline) == 2
    assert all(path.name.endswith(identity) for path in offline)
    pictures = [path.name for path in folder.glob("wandb/offline-run-*/files/media/images/*")]
    assert any(name.startswith("reconstructions_") for name in pictures)
    assert any(name.startswith("samples_") for name in pictures)
    assert state(folder) == state(finished())
