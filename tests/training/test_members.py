"""A sweep in one program: each member is the run of its own."""

import itertools
import json
import shutil
from typing import ClassVar

import jax
import numpy as np
import pytest
import yaml

import fsb.train
from fsb.cli.program import preflight
from fsb.cli.schema import Train
from fsb.errors import FsbError
from fsb.runtime.interrupts import Interrupt
from fsb.storage.checkpoints import Checkpoints
from fsb.storage.loggers import no_logger
from fsb.training import members, members_run
from fsb.training.setup import assemble
from runs import TINY, main, rows, state

NAMES = tuple(
    f"{i}_seed-{seed}_learning_rate-{rate}"
    for i, (seed, rate) in enumerate(itertools.product((0, 3), (0.0001, 0.0006)))
)
GRID = "members={seed: [0, 3], optimizer.learning_rate: [1e-4, 6e-4]}"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    home = tmp_path_factory.mktemp("members")
    return main(home / "sweep", GRID, "max_steps=10", "eval_every=5")


class Told(type(no_logger())):
    """In place of Weights & Biases: what it would be told of a run."""

    runs: ClassVar[list] = []

    def __init__(self, folder, config, mode, timeout, run):
        self.runs.append(run)


def of(folder, name):
    (config,) = preflight("train", [*TINY], Train)
    state = assemble(config).first_state()
    return Checkpoints(folder / name / "checkpoints").restore(state)[0]


@pytest.mark.slow
def test_each_member_is_the_run_of_its_own(sweep, tmp_path):
    names = {path.name for path in sweep.iterdir() if path.is_dir()} - {"best"}
    assert names == {*NAMES}
    name = "2_seed-3_learning_rate-0.0001"
    given = ("seed=3", "optimizer.learning_rate=1e-4", "max_steps=10", "eval_every=5")
    alone = main(tmp_path / "alone", *given)
    assert {p.name for p in alone.iterdir()} == {p.name for p in (sweep / name).iterdir()}
    one, other = (yaml.safe_load((f / "config.yaml").read_text()) for f in (alone, sweep / name))
    assert one == other
    for mine, theirs in zip(rows(sweep / name), rows(alone), strict=True):
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            assert value == pytest.approx(theirs[key], rel=2e-4), key
    states = of(sweep, name), of(alone.parent, "alone")
    for a, b in zip(*(jax.tree.leaves(s.params) for s in states), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_member_goes_on_alone_and_the_best_is_named(sweep, tmp_path):
    summary = json.loads((sweep / "summary.json").read_text())
    scores = {member["member"]: member["valid_elbo"] for member in summary["members"]}
    assert summary["best"] == max(scores, key=scores.get)
    assert rows(sweep / "best") == rows(sweep / summary["best"])
    folder = shutil.copytree(sweep / NAMES[1], tmp_path / "member")
    fsb.train.main([f"resume={folder}", "max_steps=15"])
    assert [row["step"] for row in rows(folder)] == [0, 5, 10, 15]


@pytest.mark.slow
def test_a_member_that_diverges_does_not_disturb_the_others(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fsb.storage.wandb_logger.WandbLogger", Told)
    given = ("max_steps=10", "eval_every=5", "steps_per_call=2", "optimizer.momentum=0")
    grid = "members={optimizer.learning_rate: [1e-4, 1e6]}"
    folder = main(tmp_path / "sweep", grid, *given, "logger=wandb")
    good, bad = "0_learning_rate-0.0001", "1_learning_rate-1000000.0"
    shown = [(run["group"], run["job_type"], run["name"]) for run in Told.runs]
    assert shown == [("sweep", "member", good), ("sweep", "member", bad)]
    assert f"{bad}: diverged: the ELBO is" in capsys.readouterr().out
    assert json.loads((folder / bad / "summary.json").read_text())["diverged_at"] <= 4
    alone = main(tmp_path / "alone", "optimizer.learning_rate=1e-4", *given)
    assert rows(folder / good)[-1]["test_elbo"] == pytest.approx(
        rows(alone)[-1]["test_elbo"], rel=1e-3
    )


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("{}", "members: give lists of values"),
        ("{seed: []}", "members: give lists of values"),
        ("{seed: [1, 1]}", "members: seed repeats a value in [1, 1]"),
        ("{model.width: [8, 16]}", "members: model.width is not seed nor a number of"),
        ("{estimator.dleta: [0.1]}", "members: estimator.dleta is no number of this configuration"),
        ("{estimator.delta: [0.1, a]}", "members: estimator.delta must be a list of numbers"),
        ("{estimator.delta: [0.1, 2]}", "estimator: foust: delta=2.0: it must lie in [0, 1]"),
        ("{seed: [-1]}", "seed: must be at least 0, got -1"),
        ("{optimizer.learning_rate: [0.1, -1]}", "optimizer: learning_rate must be positive"),
    ],
)
def test_what_cannot_be_a_member(given, line, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(tmp_path / "run", f"members={given}")
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(f"fsb: error: {line}")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_setting_of_the_program_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(tmp_path / "run", "estimator=rloo", "members={estimator.samples: [2, 3]}")
    assert "sweep it with --multirun" in capsys.readouterr().err


@pytest.mark.slow
def test_what_does_not_fit_is_trained_in_blocks(sweep, tmp_path, monkeypatch, capsys):
    sizes = (x.size for x in jax.tree.leaves(of(sweep, "0_seed-0_learning_rate-0.0001")))
    one = members.COPIES * 4 * sum(sizes)
    monkeypatch.setattr(members, "free_memory", lambda: 3.5 * 2 * one)
    folder = main(tmp_path / "sweep", GRID, "max_steps=10", "eval_every=5")
    assert "1 members, block 2 of 2" in capsys.readouterr().err
    for name in NAMES:
        last, expected = rows(folder / name)[-1], rows(sweep / name)[-1]
        assert last["valid_elbo"] == pytest.approx(expected["valid_elbo"], rel=1e-4)
    best = [json.loads((f / "summary.json").read_text())["best"] for f in (folder, sweep)]
    assert best[0] == best[1]


@pytest.mark.slow
def test_what_a_member_can_differ_in(tmp_path):
    """Settings of the estimator, of both optimisers and of the objective."""
    grid = "{estimator.temperature: [0.4, 0.7], optimizer.warmup_steps: [0, 4]}"
    changes = ("estimator=gumbel_softmax", "max_steps=4", "eval_every=4", "bound_samples=[]")
    folder = main(tmp_path / "sweep", f"members={grid}", *changes)
    given = ("estimator.temperature=0.7", "optimizer.warmup_steps=4")
    alone = main(tmp_path / "alone", *changes, *given)
    mine = rows(folder / "3_temperature-0.7_warmup_steps-4")
    for row, expected in zip(mine, rows(alone), strict=True):
        for key, value in row.items():
            assert value == pytest.approx(expected[key], rel=2e-4), key


@pytest.mark.slow
def test_eight_devices_share_the_members(sweep, tmp_path):
    grid = "members={seed: [0, 3], optimizer.learning_rate: [1e-4, 6e-4]}"
    folder = main(tmp_path / "sweep", grid, "max_steps=10", "eval_every=5", "devices=4")
    name = "3_seed-3_learning_rate-0.0006"
    for row, expected in zip(rows(folder / name), rows(sweep / name), strict=True):
        assert row["valid_elbo"] == pytest.approx(expected["valid_elbo"], rel=1e-4)


@pytest.mark.slow
def test_an_interrupt_saves_every_member_and_all_go_on_bit_for_bit(
    sweep, tmp_path, monkeypatch, capsys
):
    answers = iter([0, 15])
    monkeypatch.setattr(Interrupt, "agreed", lambda self: next(answers, 0))
    with pytest.raises(SystemExit) as caught:
        main(tmp_path / "sweep", GRID, "max_steps=10", "eval_every=5")
    assert caught.value.code == 143
    folder = tmp_path / "sweep"
    assert f"stopped at step 5; to go on: python -m fsb.train resume={folder}" in (
        capsys.readouterr().out
    )
    assert {state(folder / name)[0] for name in NAMES} == {5}
    fsb.train.main([f"resume={folder}"])
    for name in NAMES:
        assert state(folder / name) == state(sweep / name)
        assert rows(folder / name) == rows(sweep / name)
    first, second = (json.loads((f / "summary.json").read_text()) for f in (folder, sweep))
    assert first == second


def test_the_step_from_which_all_members_can_go_on():
    class Store:
        def __init__(self, *found):
            self.steps = lambda: list(found)

    common, both = members_run._common_step, np.array([True, True])
    assert common([Store(), Store()], both, 9) == 0
    assert common([Store(2, 4), Store(2)], both, 9) == 2  # killed while it saved
    assert common([Store(2, 4), Store(2)], np.array([True, False]), 9) == 4
    with pytest.raises(FsbError, match="no step has a checkpoint of every member"):
        common([Store(2), Store()], both, 9)
    with pytest.raises(FsbError, match="max_steps=3: the members are already at step 4"):
        common([Store(4), Store(4)], both, 3)
