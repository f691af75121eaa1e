"""Every suite of the benchmark in miniature: what it measures, and the files that it leaves."""

import importlib.util
import json
import sys

import pytest

from fsb.bench import __main__ as program
from fsb.bench import processes, start, sweep
from fsb.bench.processes import watch
from fsb.cli.program import preflight
from fsb.cli.schema import Train
from fsb.errors import FsbError
from fsb.storage.metrics_file import MetricsFile
from runs import TINY

SMALL = ("width=8", "batch_size=4", "rounds=2", "steps=2")
TRAINING = f"overrides=[{','.join(f'{word!r}' for word in TINY)}]"
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
    grid = "grid={width: [4, 8, 16, 32], evaluations: [2, 3, 4, 5], "
    grid += "layers: [], batch_size: [], samples: []}"
    found = suite(tmp_path, "scaling", grid, "layers=1", "estimators=[st]")
    curves = [(row["over"], row["estimator"]) for row in found["exponents"]]
    assert curves == [("width", "st"), ("evaluations", "rloo")]
    assert all(0.1 <= row["exponent"] <= 4 for row in found["exponents"])
    points = [row["value"] for row in found["points"]]
    assert points == [4, 8, 16, 32, 2, 3, 4, 5]
    assert all(row["ms_per_step"] > 0 for row in found["points"])


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
def test_memory(tmp_path):
    found = suite(tmp_path, "memory", TRAINING, "jobs=2", "nets=[linear_disarm_vae]")
    run, first, last = (row["mb"] for row in found["processes"])
    assert min(run, first, last) > 100
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
            preflight("train", words, Train)
    return overrides


@pytest.mark.slow
def test_sweep(tmp_path, monkeypatch):
    seen = []

    def run(*command):
        seen.append(command)
        many = any("members" in word for word in command)
        return watch(sys.executable, "-S", "-c", f"import time; time.sleep({0.2 + 0.2 * many})")

    monkeypatch.setattr(sweep, "watch", run)
    found = suite(tmp_path, "sweep", TRAINING, "members=4")
    alone, together = found["times"]
    assert (alone["what"], together["what"]) == ("a run alone", "all members")
    (row,) = found["ratios"]
    assert row["members"] == 4
    assert 0.3 < row["ratio"] < 0.9  # 0.4 / (4 * 0.2), and what a process takes
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
    much = watch(sys.executable, "-S", "-c", "x = bytes(2**27); import time; time.sleep(0.2)")
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
