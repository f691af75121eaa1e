"""A run that was stopped, in whatever way, ends as if it had not been."""

import shutil
import signal
import time

import jax
import optax
import pytest

import fsb.evaluate
import fsb.train
from fsb.runtime.interrupts import SIGNALS
from fsb.storage.checkpoints import Checkpoints
from runs import TINY, Interrupting, assembled, finished, main, rows, start, state, train


def damage(folder, step):
    """Turns every byte in the files that hold the data of a checkpoint: some are never read."""
    for path in (folder / f"checkpoints/{step}/state").glob("ocdbt.process_0/d/*"):
        path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("step", [pytest.param(0, marks=pytest.mark.slow), 10])
def test_an_interrupted_run_goes_on_as_if_nothing_were(step, number, tmp_path, capsys):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught:
        train(tmp_path / "run", steps_per_call=7, log=Interrupting(step, number))
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) == before
    assert state(tmp_path / "run")[0] == step
    go_on = f"stopped at step {step}; to go on: python -m fsb.train resume={tmp_path / 'run'}\n"
    assert capsys.readouterr().out == go_on
    train(tmp_path / "run")
    assert state(tmp_path / "run") == state(finished())
    assert rows(tmp_path / "run") == rows(finished())


@pytest.mark.slow
def test_an_interrupt_lets_the_chunk_finish(tmp_path, monkeypatch):
    """The signal comes while steps 8 to 14 are made."""
    real = fsb.train.run_steps

    def interrupted(recipe, now, images, indices, count):
        if int(now.step) == 7:
            signal.raise_signal(signal.SIGTERM)
        return real(recipe, now, images, indices, count)

    interrupted.lower = real.lower
    monkeypatch.setattr(fsb.train, "run_steps", interrupted)
    with pytest.raises(SystemExit, match="143"):
        train(tmp_path / "run", steps_per_call=7, eval_every=15, checkpoint_every=100)
    assert state(tmp_path / "run")[0] == 14
    monkeypatch.setattr(fsb.train, "run_steps", real)
    train(tmp_path / "run", eval_every=15)
    whole = train(tmp_path / "whole", eval_every=15)
    assert state(tmp_path / "run") == state(whole)
    assert rows(tmp_path / "run") == rows(whole)  # the loss window spans the interruption
    assert [row["step"] for row in rows(whole)] == [0, 15, 20]
    of_15, of_5 = (row["train_objective"] for row in rows(whole)[1:])
    of_10s = [row["train_objective"] for row in rows(finished())[1:]]
    assert (15 * of_15 + 5 * of_5) / 20 == pytest.approx(sum(of_10s) / 2, rel=1e-6)


@pytest.mark.slow
def test_more_steps_continue_a_finished_run(tmp_path):
    folder = main(tmp_path / "run", "max_steps=10")
    fsb.train.main([f"resume={folder}", "max_steps=20"])
    assert state(folder) == state(finished())
    assert rows(folder) == rows(finished())
    assert (folder / "config.yaml").read_text() == (finished() / "config.yaml").read_text()
    assert (folder / "summary.json").exists()


@pytest.mark.slow
def test_a_run_from_before_its_estimator_had_an_optimizer_goes_on(tmp_path):
    folder = main(tmp_path / "run", "~control_optimizer", "max_steps=10")
    assert "control_optimizer" not in (folder / "config.yaml").read_text()
    now = assembled()[0].first_state()
    assert now.control_opt_state.hyperparams["learning_rate"] == pytest.approx(1e-3)
    old = optax.adam(1e-3).init(())
    now, _ = Checkpoints(folder / "checkpoints").restore(now._replace(control_opt_state=old))
    assert now.control_opt_state[0].count == 10
    fsb.train.main([f"resume={folder}", "max_steps=20"])
    assert rows(folder) == rows(finished())
    fsb.evaluate.main([f"run={folder}", "bound_samples=[]", "devices=1"])


@pytest.mark.slow
def test_what_an_estimator_learned_goes_on(tmp_path):
    small = ("model.layers=1", "model.hidden=0")
    given = ("estimator=relax", "control_optimizer.learning_rate=0.01", *small)
    whole = main(tmp_path / "whole", *given)
    folder = main(tmp_path / "run", *given, "max_steps=10")
    fsb.train.main([f"resume={folder}", "max_steps=20"])
    assert state(folder) == state(whole)
    assert rows(folder) == rows(whole)
    first = assembled("estimator=relax", *small)[0].first_state()
    now, _ = Checkpoints(folder / "checkpoints").restore(first)
    moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), now.control, first.control)
    assert min(jax.tree.leaves(moved)) > 1e-4
    assert max(jax.tree.leaves(moved)) < 0.21  # twenty steps of Adam


@pytest.mark.slow
def test_where_a_run_ended_does_not_count(tmp_path):
    train(tmp_path / "run", max_steps=13)
    train(tmp_path / "run")
    assert state(tmp_path / "run") == state(finished())
    assert [row["step"] for row in rows(tmp_path / "run")] == [0, 10, 13, 20]


@pytest.mark.slow
def test_a_finished_run_is_finished_again(tmp_path):
    folder = shutil.copytree(finished(), tmp_path / "run")
    for name in ("summary.json", "curves.png", "samples.png"):
        (folder / name).unlink()
    train(folder)
    assert state(folder) == state(finished())
    assert rows(folder) == rows(finished())
    assert {path.name for path in folder.iterdir()} == {p.name for p in finished().iterdir()}


@pytest.mark.slow
def test_rows_after_the_checkpoint_are_made_again(tmp_path):
    folder = shutil.copytree(finished(), tmp_path / "run")
    shutil.rmtree(folder / "checkpoints/20")
    with open(folder / "metrics.csv", "a") as file:
        file.write("30,half a li")  # of a run that was killed while it wrote
    train(folder)
    assert state(folder) == state(finished())
    assert rows(folder) == rows(finished())


@pytest.mark.slow
def test_without_a_checkpoint_it_starts_anew_and_repeats_no_row(tmp_path):
    folder = shutil.copytree(finished(), tmp_path / "run")
    shutil.rmtree(folder / "checkpoints")
    train(folder)
    assert state(folder) == state(finished())
    assert rows(folder) == rows(finished())


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(tmp_path):
    folder = shutil.copytree(finished(), tmp_path / "run")
    damage(folder, 20)
    with pytest.warns(UserWarning, match=r"checkpoints/20 is damaged .*; trying step 10"):
        train(folder)
    assert state(folder) == state(finished())
    assert rows(folder) == rows(finished())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
@pytest.mark.slow
def test_a_process_is_interrupted_and_resumed(number, tmp_path):
    folder = tmp_path / "run"
    seldom = ("eval_every=500", "checkpoint_every=500")
    run = start(*TINY, *seldom, f"hydra.run.dir={folder}", "max_steps=1000000")
    wait_for(lambda: len(rows(folder)) > 1, run)
    run.send_signal(number)
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 128 + number
    step = state(folder)[0]
    assert out.splitlines()[1:] == [
        f"stopped at step {step}; to go on: python -m fsb.train resume={folder}"
    ]
    more = step + 10
    resumed = start(f"resume={folder}", f"max_steps={more}")
    _, err = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, err
    whole = main(tmp_path / "whole", *seldom, f"max_steps={more}")
    assert state(folder) == state(whole)
    assert rows(folder) == rows(whole)


@pytest.mark.slow
def test_a_process_says_which_checkpoint_is_damaged(tmp_path):
    folder = shutil.copytree(finished(), tmp_path / "run")
    damage(folder, 20)
    resumed = start(f"resume={folder}")
    _, err = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, err
    assert "checkpoints/20 is damaged" in err
    assert "Traceback" not in err
    assert state(folder) == state(finished())


def wait_for(condition, run, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert run.poll() is None, run.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.05)
