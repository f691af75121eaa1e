"""What is wanted of an accelerator, in miniature: scripts/accelerator.sh."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import claims
import ledger
import pytest
from accelerator import __main__ as accelerator
from accelerator import pack, pieces
from accelerator.plan import Program, Timing, Training
from accelerator.trainings import PLAN, SETTLES

from fsb.cli.program import preflight
from fsb.cli.schema import Train
from fsb.errors import FsbError
from fsb.runtime.interrupts import Interrupt, interrupts
from fsb.storage.metrics_file import MetricsFile
from fsb.storage.provenance import provenance
from runs import one_device, rows, state

ROOT = Path(__file__).parents[1]
nothing = lambda: None
NAMES = [item.name for item in PLAN]
TRAININGS = {item.name: item for item in PLAN if isinstance(item, Training)}


def test_the_plan_says_what_is_there_and_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FSB_DATA", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    home = tmp_path / "out"
    record = {"date": "2026-01-02T03:04", "device": "NVIDIA H200", "error": None, "rows": [{}]}
    for name, change in {"table1_1": {}, "table1_2": {"rows": [], "error": "no memory"}}.items():
        path = home / f"experiments/accelerator/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record | change))
    run = home / "runs/accelerator/fourier_table1/bsb"
    (run / "checkpoints/5000").mkdir(parents=True)
    (run / "metrics.csv").write_text("step,steps_per_second\n5000,4900.0\n")
    monkeypatch.setattr(pieces.fsb.data, "mnist_static", lambda: None)
    assert accelerator.main(["--plan", "--out", str(home)]) == 0
    _, *shown, total = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in shown] == NAMES
    line = dict(zip(NAMES, shown, strict=True))
    assert "0 s  " in line["table1_1"]
    assert "recorded 2026-01-02, NVIDIA H200" in line["table1_1"]
    assert "failed: no memory" in line["table1_2"]
    assert "at step 5000" in line["bsb"]
    assert " 50 s " in line["bsb"]  # 245,000 steps at the speed of the run
    assert "needs data: cifar10" in line["resnet_a_foust"]
    assert "python -m fsb.train experiment=fig3_cifar10" in line["resnet_a_foust"]
    assert "estimates from assumed speeds" in total


def test_each_item_has_a_name_of_its_own():
    assert len(set(NAMES)) == len(PLAN)


def test_what_is_not_yet_measured_is_planned():
    """Every claim that has no verdict, but for a drawing, is settled by items that there are."""
    found, planned = claims.collect(ROOT / "experiments"), set(SETTLES)
    for claim in ledger.CLAIMS:
        record = found.get(claim.id)
        state = record["verdict"] if record else claims.OPEN
        if state == claims.OPEN and claim.published != ledger.DRAWING:
            assert claim.id in planned, f"{claim.id} is neither measured nor planned"
    assert planned <= {claim.id for claim in ledger.CLAIMS}
    for claim, starts in SETTLES.items():
        for start in starts.split():
            assert [name for name in NAMES if name.startswith(start)], claim


def test_a_program_runs_in_a_process_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "experiments/mine").mkdir(parents=True)
    (tmp_path / "experiments/mine/run.py").write_text(
        "import pathlib, sys\n"
        "if sys.argv[1] == '--wrong': sys.exit('error: no such thing')\n"
        "pathlib.Path(sys.argv[-1]).mkdir(parents=True)\n"
    )
    monkeypatch.setattr(accelerator, "ROOT", tmp_path)
    monkeypatch.setattr(accelerator.fsb.data, "mnist", lambda: None)
    work = accelerator.Work(tmp_path / "out", False)
    good = Program("good", "what", "mine", "run.py --seed 0", "mnist", 1.0, "run.py")
    wrong = replace(good, name="wrong", words="run.py --wrong")
    assert (
        work.command(good) == "python experiments/mine/run.py --seed 0 --out experiments/mine/good"
    )
    accelerator.go(work, [good, wrong], 1e9, nothing)
    assert (tmp_path / "out/experiments/mine/good").is_dir()
    assert work.finished(good)
    assert work.record(wrong)["error"] == "error: no such thing"


ONE_OF_EACH = ("bsb", "csb", "resnet_a_st", "resnet_80_darn", "omniglot_2_gumbel_softmax", "deep")


@pytest.mark.slow
def test_the_trainings_are_the_published_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = {
        name: preflight("train", pieces.words(TRAININGS[name], Path("run")), Train)[0]
        for name in ONE_OF_EACH
    }
    for name, config in found.items():
        assert config.max_steps == TRAININGS[name].steps
        assert config.data["_target_"] == f"fsb.data.{TRAININGS[name].data}"
    for name in set(NAMES) - set(MINIATURE):  # composed at least
        item = next(item for item in PLAN if item.name == name)
        if name in TRAININGS:
            preflight("train", pieces.words(item, Path("run"), True), Train)
        elif isinstance(item, Timing):
            preflight("train", item.settings.split(), Train)
    assert found["bsb"].batch_size == 100
    assert found["csb"].model["values"] == 10
    assert found["resnet_80_darn"].model.dtype == "bfloat16"
    grid = found["omniglot_2_gumbel_softmax"].members
    assert math.prod(map(len, grid.values())) == 3 * 8
    assert (found["deep"].model.layers, found["deep"].model.width) == (8, 500)


MINIATURE = ("table1_1", "table3_linear", "table3_vae", "resnet80", "members", "others_1")
MINIATURE += ("bsb", "csb", "relax", "resnet_a_foust", "omniglot_2_foust", "curve_switch")
MINIATURE += ("structured_2_1_muprop_c_vn", "sbn_200_nvil", "ablation_mnist_half")
"""One item of each kind; sizes, data or the estimator are other in the rest."""


@pytest.mark.slow
def test_the_plan_in_miniature(tmp_path, capsys):
    plan = [item for item in PLAN if item.name in MINIATURE]
    given = ["--miniature", "--out", str(tmp_path), "--only", *(item.name for item in plan)]
    assert accelerator.main(given) == 0
    experiments = tmp_path / "experiments"
    found = {path.stem: json.loads(path.read_text()) for path in experiments.glob("*/*.json")}
    assert found.keys() == {item.name for item in plan}
    for name, record in found.items():
        assert record["error"] is None, name
        assert record["rows"], name
        assert not [row for row in record["rows"] if "error" in row], name
        assert {"date", "git_commit", "device", "versions", "command"} <= record.keys()
    for item in plan:
        if isinstance(item, Training):
            assert {row["step"] for row in found[item.name]["rows"]} == {4}
            assert (experiments / item.into / "results.csv").exists()
        else:
            times = [row["ms_per_step"] for row in found[item.name]["rows"]]
            assert len(times) == len(item.variants) + bool(item.members)
            assert min(times) > 0
    one, two = found["members"]["rows"]
    assert two["of_one_by_one"] == pytest.approx(two["ms_per_step"] / one["ms_per_step"] / 2)
    lines = MetricsFile(experiments / "accelerator/measurements.csv").read()
    assert {line["item"] for line in lines} == {i.name for i in plan if isinstance(i, Timing)}
    assert {"date", "git_commit", "device", "versions", "ms_per_step"} <= lines[0].keys()
    capsys.readouterr()
    accelerator.go(accelerator.Work(tmp_path, True), plan, 1e9, nothing)
    assert capsys.readouterr().out == ""  # there is nothing left to do


def test_what_fails_is_noted_and_the_next_goes_on(tmp_path, monkeypatch, capsys):
    wrong = replace(TRAININGS["bsb"], name="wrong", settings="estimator=stt")
    seen = []
    monkeypatch.setattr(accelerator, "time_steps", lambda item, small: seen.append(item) or [{}])
    work = accelerator.Work(tmp_path, True)
    accelerator.go(work, [wrong, PLAN[0]], 1e9, nothing)
    assert seen == [PLAN[0]]
    assert work.record(wrong)["error"].startswith("estimator: unknown 'stt'")
    assert work.finished(PLAN[0])
    assert "wrong: failed: estimator" in capsys.readouterr().out
    assert MetricsFile(tmp_path / "experiments/fourier_table1/measurements.csv").read()[0]["error"]


def test_nothing_is_begun_that_has_no_time_left(tmp_path, monkeypatch, capsys):
    begun = []
    monkeypatch.setattr(accelerator, "time_steps", lambda item, small: begun.append(item) or [{}])
    long = replace(PLAN[0], name="long", seconds=1000.0)
    accelerator.go(accelerator.Work(tmp_path, True), [long, PLAN[0]], 60, nothing)
    assert begun == [PLAN[0]]
    assert "long: no time left for it" in capsys.readouterr().out
    accelerator.go(accelerator.Work(tmp_path, True), [PLAN[1]], accelerator.LEAST - 1, nothing)
    assert "time is over; not done: table1_2" in capsys.readouterr().out


@pytest.mark.slow
def test_a_training_in_pieces_is_that_in_one_piece(tmp_path, monkeypatch):
    item = replace(TRAININGS["gumbel_softmax"], settings="estimator=gumbel_softmax")
    cache = os.environ["JAX_COMPILATION_CACHE_DIR"]
    answers = iter([0, signal.SIGQUIT])
    pieces.train(item, tmp_path / "whole", math.inf, cache, True)
    with monkeypatch.context() as patch:
        patch.setattr(Interrupt, "agreed", lambda self: next(answers))
        pieces.train(item, tmp_path / "run", math.inf, cache, True)
    assert pieces.step(tmp_path / "run") == 2
    assert not pieces.finished(tmp_path / "run")
    pieces.train(item, tmp_path / "run", math.inf, cache, True)
    assert pieces.finished(tmp_path / "run") == "done"
    assert state(tmp_path / "run") == state(tmp_path / "whole")
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


def test_seconds_end_with_a_signal():
    with pieces.signals(), pytest.raises(SystemExit) as caught, pieces.sigquit_after(0.01):
        time.sleep(20)
    assert caught.value.code == pieces.TIME_IS_OVER


def test_a_signal_that_a_training_took_ends_the_program():
    with pieces.signals() as obey:
        with interrupts():
            os.kill(os.getpid(), signal.SIGQUIT)
        obey()  # the time of a training, no more
        with interrupts() as asked:
            os.kill(os.getpid(), signal.SIGTERM)
        assert asked.signal == signal.SIGTERM
        with pytest.raises(SystemExit, match="143"):
            obey()


def test_what_is_packed_fits_into_parts(tmp_path, monkeypatch):
    home = tmp_path / "data"
    for name, size in {"a/1": 30, "a/2": 80, "b": 60}.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(bytes(size))
    monkeypatch.setenv("FSB_DATA", str(home))
    monkeypatch.setattr(pack, "MOST", 100)
    monkeypatch.setattr(pack, "wheels", lambda folder: (folder / "x.whl").write_bytes(bytes(30)))
    sets = {"a": [Path("a/1"), Path("a/2")], "b": [Path("b")]}
    monkeypatch.setattr(pack, "files", lambda name, home: sets[name])
    pack.pack(tmp_path / "packed", ["a", "b"])
    packed = {
        p.relative_to(tmp_path / "packed").as_posix() for p in tmp_path.rglob("packed/*/**/*")
    }
    assert {"1/wheels/x.whl", "1/commit", "1/data/b", "2/data/a/1", "3/data/a/2"} <= packed
    assert "2/data/a/2" not in packed  # 30 + 80 is too much


def test_a_set_that_the_plan_does_not_need_is_not_packed():
    with pytest.raises(FsbError, match="fashion_mnist: the plan needs only mnist_static, "):
        pack.files("fashion_mnist", Path("."))


def test_the_commit_of_copied_files(monkeypatch):
    monkeypatch.setattr("fsb.storage.provenance.git_commit", lambda: None)
    monkeypatch.setenv("FSB_COMMIT", "1234abc")
    assert provenance()["git_commit"] == "1234abc"


@pytest.mark.slow
def test_the_command_finds_its_python():
    environment = {**os.environ, "PYTHON": sys.executable, "XLA_FLAGS": one_device()}
    command = ["bash", str(ROOT / "scripts/accelerator.sh"), "--only", "tabel1_1"]
    asked = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/")
    assert asked.returncode == 2
    assert asked.stderr.startswith("fsb: error: --only: unknown 'tabel1_1'")
    assert "did you mean" in asked.stderr
