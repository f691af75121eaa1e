"""Every suite of the benchmark in miniature: what it measures, and the files that it leaves."""

import importlib.util
import json
import sys
import time

import pytest

from fsb.bench import __main__ as program
from fsb.bench import memory, processes, scaling, start, sweep
from fsb.bench.processes import Ended, watch
from fsb.cli.program import preflight
from fsb.cli.schema import Train
from fsb.errors import FsbError
from fsb.storage.metrics_file import MetricsFile
from runs import TINY

SMALL = ("width=8", "batch_size=4", "rounds=2", "steps=2")
STEPS = ("max_steps=1", "eval_every=1", "eval_examples=16", "model.layers=1")
TRAINING, SHORT = (
    f"overrides=[{','.join(f'{word!r}' for word in words)}]" for words in (TINY, (*TINY, *STEPS))
)
ABOUT = {"date", "suite", "rounds", "device", "versions", "git_commit"}


def suite(folder, name, *words):
    """The tables of a suite, after its files were read back."""
    program.main([f"suite={name}", *SMALL, *words, f"hydra.run.dir={folder}"])
    record = json.loads((folder / "results.json").read_text())
    assert record.keys() >= ABOUT
    assert record["suite"] == name
    text = (folder / "results.md").read_text()
    assert f"`python -m fsb.bench suite={name} width=8" in text
    rows = MetricsFile(folder / "results.csv").read()
    first = lambda row: next(iter(row.values()))
    assert [first(row) for row in rows] == [first(row) for row in record[MAIN[name]]]
    widths = [line.count(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert len(widths) >= len(rows) + 2  # the head and the rule
    return record


MAIN = {"estimators": "times", "peers": "times", "sweep": "times", "start": "times"}
MAIN |= {"memory": "processes", "data": "rates", "count": "totals", "scaling": "exponents"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["suite=stepp"], "suite: unknown 'stepp'; did you mean step?"),
        (["suite=estimators", "estimators=[fosut]"], "did you mean foust?"),
        (["suite=count", "nets=[vea]"], "did you mean vae?"),
        (["suite=sweep", "overrides=['max_stps=3']"], "did you mean max_steps?"),
        (["suite=scaling", "grid.width=[1,2]"], "grid.width: needs 4 rising values"),
    ],
)
def test_a_mistake_is_told_in_one_line(words, told, capsys, tmp_path):
    with pytest.raises(SystemExit) as error:
        program.main([*words, f"hydra.run.dir={tmp_path}/none"])
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_estimators(tmp_path):
    found = suite(tmp_path, "estimators", "layers=2", "estimators=[disarm,pathwise]")
    rows = {row["estimator"]: row for row in found["times"]}
    assert {name: row["evaluations"] for name, row in rows.items()} == {
        "st": 1,
        "gumbel_softmax": 1,
        "disarm": 3,
    }
    assert rows["st"]["ratio"] == rows["gumbel_softmax"]["to_gumbel_softmax"] == 1
    times = [row["ms_per_step"] for row in found["times"]]
    assert times == sorted(times)
    ((name, reason),) = (row.values() for row in found["left_out"])
    assert name == "pathwise"
    assert "Bernoulli" in reason


@pytest.mark.slow
def test_scaling(tmp_path):
    grid = "grid={evaluations: [2, 3, 4, 5], width: [], layers: [], batch_size: [], samples: []}"
    found = suite(tmp_path, "scaling", grid, "layers=1")
    (row,) = found["exponents"]
    assert (row["over"], row["estimator"]) == ("evaluations", "rloo")
    assert 0.1 <= row["exponent"] <= 4
    assert [row["value"] for row in found["points"]] == [2, 3, 4, 5]
    assert all(row["ms_per_step"] > 0 for row in found["points"])


@pytest.mark.slow
def test_the_points_of_a_curve_differ_in_one_size(tmp_path, monkeypatch):
    """With steps that sleep, the exponents are known."""
    seen = []

    def asleep(config, recipe):
        seen.append((recipe.model.units[0], recipe.model.layers, config.batch_size))
        return lambda: time.sleep(2e-3 * config.width / 4 * config.batch_size**2 / 16)

    monkeypatch.setattr(scaling, "recipe_chunk", asleep)
    grid = "grid={width: [4, 8, 16, 32], batch_size: [4, 8, 12, 16], layers: [], samples: [], "
    grid += "evaluations: []}"
    found = suite(tmp_path, "scaling", grid, "width=4", "estimators=[st]", "layers=3")
    assert seen == [*((w, 3, 4) for w in (4, 8, 16, 32)), *((4, 3, b) for b in (4, 8, 12, 16))]
    slopes = [row["last_exponent"] for row in found["exponents"]]
    assert slopes == pytest.approx([1, 2], abs=0.3)


@pytest.mark.slow
def test_count(tmp_path):
    found = suite(tmp_path, "count", "nets=[linear_disarm_vae]", "top=5", "balance=1e-9")
    (whole,) = found["totals"]
    assert whole["gflop_of_kernels"] == pytest.approx(whole["gflop"], rel=0.01)
    dearest = [row["mflop"] * row["calls"] for row in found["kernels"]]
    assert len(dearest) == 5
    assert dearest == sorted(dearest, reverse=True)
    assert whole["share_bound_by_memory"] < 0.01
    products = 2 * 4 * 784 * 8 / 1e6  # of an encoder or a decoder, forward
    assert dearest[0] >= products
    assert sum(row["share"] for row in found["kernels"]) <= 1


@pytest.mark.slow
def test_data(tmp_path):
    found = suite(tmp_path, "data", TRAINING)
    rates = {row["what"]: row for row in found["rates"]}
    assert len(rates) == 5
    for row in rates.values():
        images = row["images_per_second"] * row["seconds"]
        assert images == pytest.approx(1437 if row["what"] == "open digits" else 2 * 4)
    assert [row["feed"] for row in found["waiting"]] == ["from the device", "from the thread"]
    assert all(0 < row["share_waiting"] < 1 for row in found["waiting"])


@pytest.mark.slow
def test_memory(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(memory, "watch", lambda *words: seen.append(words) or Ended(1.0, 2**28))
    found = suite(tmp_path, "memory", SHORT, "jobs=2", "nets=[linear_disarm_vae]")
    assert len(given(seen)) == 1
    run, first, last = (row["mb"] for row in found["processes"])
    assert run == 256
    assert min(first, last) > 100
    assert last >= first  # the second job begins with all that the first has loaded
    assert [row["job"] for row in found["by_job"]] == [0, 1]
    assert all(row["seconds"] > 0 for row in found["by_job"])
    (program,) = found["programs"]
    parameters = 4 * (2 * 784 * 8 + 784 + 3 * 8) / 2**20
    assert program["arguments_mb"] > 2 * parameters  # and the momentum
    assert program["aliased_mb"] == pytest.approx(program["results_mb"], rel=0.01)
    assert program["whole_mb"] > program["arguments_mb"]


def given(commands):
    """The overrides of the trainings among commands, which ``fsb.train`` takes."""
    overrides = [command[3:] for command in commands if command[:3] == processes.TRAIN]
    for words in overrides:
        if "--help" not in words:
            preflight("train", list(words), Train)
    return overrides


@pytest.mark.slow
def test_sweep(tmp_path, monkeypatch):
    seen = []

    def run(*command):
        seen.append(command)
        time.sleep(0.1 if any("members" in word for word in command) else 0.05)

    monkeypatch.setattr(sweep, "watch", run)
    found = suite(tmp_path, "sweep", TRAINING, "members=4")
    alone, together = found["times"]
    assert (alone["what"], together["what"]) == ("a run alone", "all members")
    (row,) = found["ratios"]
    assert row["members"] == 4
    assert row["ratio"] == pytest.approx(0.1 / (4 * 0.05), rel=0.3)
    grids = [word for words in given(seen) for word in words if "members" in word]
    assert grids == ["members={seed: [0, 1, 2, 3]}"] * 2
    assert len(seen) == 4


@pytest.mark.slow
def test_start(tmp_path, monkeypatch, capfd):
    caches = []

    def run(*command):
        if start.FIRST_STEP in command:
            caches.append(command[-1])
            if len(caches) == 1:
                start.first_step(command[3:])
        return watch(sys.executable, "-S", "-c", "pass")

    monkeypatch.setattr(start, "watch", run)
    found = suite(tmp_path, "start", TRAINING)
    assert [row["what"] for row in found["times"]] == [
        "import jax",
        "import fsb",
        "python -m fsb.train --help",
        "first step, empty cache",
        "first step, filled cache",
    ]
    assert found["times"][0]["to_import_jax"] == 1
    assert len(caches) == 5  # one fills, then two rounds
    assert caches.count(caches[0]) == 3
    assert len(set(caches)) == 3  # an empty cache is a new folder each time


@pytest.mark.slow
def test_a_process_is_watched():
    much = watch(sys.executable, "-S", "-c", "import time; x = b'x' * 2**27; time.sleep(0.2)")
    little = watch(sys.executable, "-S", "-c", "pass")
    assert much.seconds > 0.2
    assert much.peak - little.peak == pytest.approx(2**27, rel=0.1)
    with pytest.raises(FsbError, match="-c import nothing_like_it: ModuleNotFoundError"):
        watch(sys.executable, "-c", "import nothing_like_it")


@pytest.mark.slow
def test_peers(tmp_path, monkeypatch, capsys):
    if importlib.util.find_spec("torch") is None:
        with pytest.raises(SystemExit, match="2"):
            suite(tmp_path, "peers")
        assert capsys.readouterr().err.strip().endswith("pip install 'fsb[bench]'")
        return
    monkeypatch.setattr("torch.compile", lambda f: f)  # it takes a minute
    found = suite(tmp_path, "peers")
    told = [row.get("note", row.get("ratio")) for row in found["ratios"]]
    assert told[0] > 0
    assert told[1] > 0
    if importlib.util.find_spec("storch") is None:
        assert told[2] == "not measured: needs storchastic"
