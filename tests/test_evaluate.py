"""The evaluation program, on a run that is finished."""

import json
import math
import shutil

import pytest

import fsb.evaluate
from runs import finished, main, rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return shutil.copytree(finished(), tmp_path_factory.mktemp("evaluate") / "run")


def evaluate(folder, *overrides):
    """What the program wrote into the newest folder below evaluation/."""
    fsb.evaluate.main([f"run={folder}", "devices=1", *overrides])
    homes = sorted((folder / "evaluation").iterdir(), key=lambda home: home.stat().st_mtime_ns)
    return homes[-1], json.loads((homes[-1] / "evaluation.json").read_text())


@pytest.mark.slow
def test_an_evaluation(folder, capsys):
    before = {path.name for path in folder.iterdir()}
    home, found = evaluate(folder)
    assert home == folder / "evaluation" / "test_20"
    assert {path.name for path in folder.iterdir()} == before | {"evaluation"}
    assert sorted(path.name for path in home.iterdir()) == [
        "evaluation.json",
        "reconstructions.png",
        "samples.png",
    ]
    assert (found["step"], found["split"], found["images"]) == (20, "test", 180)
    assert found["elbo"] == pytest.approx(rows(folder)[-1]["test_elbo"], abs=6 * found["elbo_se"])
    assert found["elbo"] != rows(folder)[-1]["test_elbo"]  # its noise is its own
    for count in (100, 200):
        assert 0 < found[f"test_bound_{count}_se"] < 2
    noise = 0.1 * found["test_bound_200_se"]  # the binary images are the same for both
    assert found["test_bound_200"] > found["test_bound_100"] - noise > found["elbo"]
    assert found["kl_1"] > 0 < found["kl_2"]
    assert {"active_1", "active_2", "git_commit", "device", "versions"} <= found.keys()
    assert "bits_per_dim" not in found  # the pixels are binary
    out = capsys.readouterr().out
    assert f"test_bound_100  {found['test_bound_100']:.4f}" in out
    assert str(home) in out


@pytest.mark.slow
def test_the_best_checkpoint_and_other_devices(folder, tmp_path):
    """16 examples a step do not suit 3 devices, but nothing is trained."""
    copy = shutil.copytree(folder, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints/20")
    options = ("bound_samples=[]", "split=valid", "checkpoint=best", "devices=3")
    home, found = evaluate(copy, *options, "batch_size=100")
    assert home.name == "valid_10"
    assert found["images"] == 180
    in_training = rows(copy)[1]["valid_elbo"]
    assert found["elbo"] == pytest.approx(in_training, abs=4 * found["elbo_se"])
    # the same again, with other noise, and with the same
    assert evaluate(copy, *options, "seed=1")[1]["elbo"] != found["elbo"]
    assert evaluate(copy, *options, "batch_size=100")[1] == found


def test_a_run_is_the_same_after_it_was_evaluated(folder):
    for name in ("config.yaml", "metrics.csv", "summary.json", "samples.png"):
        assert (folder / name).read_bytes() == (finished() / name).read_bytes()


@pytest.mark.slow
def test_bits_per_dimension_of_dequantised_data(tmp_path):
    run = main(tmp_path / "run", "data.binarisation=dequantised", "max_steps=1", "bound_samples=[]")
    _, found = evaluate(run, "bound_samples=[]")
    assert found["bits_per_dim"] == pytest.approx(-found["elbo"] / (64 * math.log(2)) + 8)
    summary = json.loads((run / "summary.json").read_text())
    expected = -summary["test_elbo"] / (64 * math.log(2)) + 8
    assert summary["test_bits_per_dim"] == pytest.approx(expected)
