"""python -m fsb.lab, as its user calls it, and what it measures against known answers."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb
from fsb.diagnostics import _square_norm, evaluations, gradient_moments, quality
from fsb.lab import __main__ as lab
from fsb.lab import problems

PAGE = (Path(fsb.__file__).parent.parent / "docs/own.md").read_text()
RECIPE = next(text for text in PAGE.split("```") if text.startswith("python\n# mine.py"))
LOSS = """
import jax
import jax.numpy as jnp
import fsb
import mine

def halved():
    def draw(noise, eta, dist):
        z, hard = mine.mine().rule.draw(noise, eta, dist)
        return 0.5 * z + 0.5 * jax.lax.stop_gradient(z), hard

    return fsb.local(draw)

def loss(params, sample):
    return 3 * sample("b", fsb.Bernoulli(), params["eta"]).sum(-1)

params = {"eta": jnp.array([[0.3, -1.0]])}
"""


def run_lab(capsys, *arguments):
    """Exit code, output and errors of one call, in this process."""
    try:
        lab.main([*arguments])
        code = 0
    except SystemExit as error:
        code = error.code
    out, err = capsys.readouterr()
    return code, out, err


def rows_of(folder):
    with open(folder / "table.csv") as file:
        return {row["estimator"]: row for row in csv.DictReader(file)}


FEW = ("batches=5", "draws=200", "fit_steps=2")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(RECIPE.removeprefix("python\n"))
    (tmp_path / "toy.py").write_text(LOSS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("mine", None)


@pytest.mark.slow
def test_an_estimator_and_a_loss_of_your_own(here, capsys):
    """The recipe of the documentation: a file, beside the estimators that are there."""
    code, out, _ = run_lab(
        capsys,
        "problem=file",
        "problem.function=toy.py:loss",
        "estimators=[st,mine.py:mine,toy.py:halved,exact,"
        "{_target_: fsb.estimators.foust, delta: 0.2}]",
        "hydra.run.dir=out",
        *FEW,
    )
    assert code == 0
    rows = rows_of(here / "out")
    assert rows.keys() == {"st", "mine", "halved", "foust(delta=0.2)", "exact"}
    assert float(rows["halved"]["bias_percent"]) == pytest.approx(50, abs=1e-3)
    assert float(rows["halved"]["bias_z"]) > 4
    for name in ("st", "mine", "exact"):  # straight-through is exact on a linear loss
        assert float(rows[name]["bias_percent"]) < 1e-3
        assert float(rows[name]["bias_z"]) < 4
        assert float(rows[name]["variance"]) == pytest.approx(0, abs=1e-9)
    assert rows["exact"]["evaluations"] == "4"
    assert "halved" in out
    assert (here / "out" / "lab.png").stat().st_size > 10_000
    summary = json.loads((here / "out" / "summary.json").read_text())
    assert summary["sites"] == {"b": [1, 2]}
    assert summary["title"] == "file, function toy.py:loss"
    parameters = list(csv.DictReader(open(here / "out" / "parameters.csv")))  # noqa: SIM115
    assert {row["parameter"] for row in parameters} == {"['eta']"}


@pytest.mark.slow
def test_training_with_an_estimator_of_your_own(here, capsys):
    """The same file, by ``_target_``."""
    from fsb import train

    train.main(
        ["modules=[mine]", "estimator=st", "estimator._target_=mine.mine",
         "max_steps=3", "eval_every=3", "bound_samples=[]", "model.width=8", "eval_examples=100",
         "model.layers=1", "model.hidden=0", "hydra.run.dir=run", "compilation_cache=null"]
    )  # fmt: skip
    assert "mine.mine" in (here / "run" / "config.yaml").read_text()
    assert (here / "run" / "checkpoints" / "3").is_dir()


@pytest.mark.slow
def test_nothing_is_overwritten(here, capsys):
    command = ("problem=toy", "estimators=[st]", "hydra.run.dir=out", *FEW)
    for _ in range(2):
        assert run_lab(capsys, *command)[0] == 0
    assert (here / "out" / "table.csv").exists()
    assert (here / "out-2" / "table.csv").exists()


@pytest.mark.slow
def test_all_estimators_by_default(here, capsys):
    code, out, err = run_lab(
        capsys, "problem=toy", "batches=3", "draws=20", "fit_steps=1", "hydra.run.dir=out"
    )
    assert code == 0, err
    rows = rows_of(here / "out")
    assert len(rows) > 25
    assert {"muprop_c_idb", "foust", "rebar", "exact"} <= rows.keys()
    assert "pathwise: left out: " in out


@pytest.mark.slow
def test_without_enumeration_the_reference_is_an_estimator(here, capsys):
    code, out, _ = run_lab(
        capsys, "problem=mlp", "problem.units=3", "estimators=[st,disarm]", "max_states=4",
        "reference=disarm", "hydra.run.dir=out", *FEW,
    )  # fmt: skip
    assert code == 0
    assert "reference: disarm" in out
    rows = rows_of(here / "out")
    assert float(rows["disarm"]["bias"]) == 0
    assert float(rows["st"]["bias"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["estimators=[fosut]"], "estimators[0]: unknown 'fosut'; did you mean foust?"),
        (["estimators=[st,st]"], "estimators[1]: st is given twice"),
        (["estimators=[no.py:mine]"], "estimators[0]=no.py:mine: there is no file no.py"),
        (["estimators=[mine]"], "; your own: path/to/file.py:factory"),
        (["estimators=[toy.py:mime]"], "estimators[0]: unknown 'mime'"),
        (["estimators=[3]"], "estimators[0]: 3 is not a name"),
        (["estimators=[pathwise]"], "estimators: none serves this problem: site 'z1'"),
        (["batches=2"], "batches: must be at least 3, got 2"),
        (["problem=snb"], "did you mean sbn?"),
        (["estimator=st"], "settings: unknown 'estimator'; did you mean estimators?"),
        (["estimators=[{_target_: toy.py:x}]"], "or mine.factory of a file mine.py, with modules"),
        (["problem=file"], "problem.function: is required"),
        (["problem=file", "problem.function=toy.py"], "write it as path/to/file.py:name"),
        (["problem=run", "problem.run=nowhere"], "run folder nowhere: does not exist"),
        (["problem=mlp", "problem.values=1"], "values must be at least 2"),
    ],
)
def test_mistakes_are_told_in_one_line(here, capsys, arguments, message):
    code, _, err = run_lab(capsys, *arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (here / "runs").exists()


@pytest.mark.slow
def test_along_a_training_run(here, capsys):
    from fsb import train

    train.main(
        ["max_steps=4", "eval_every=2", "checkpoint_every=2", "keep_last=9", "bound_samples=[]",
         "model.width=4", "model.layers=1", "eval_examples=100", "hydra.run.dir=run"]
    )  # fmt: skip
    code, _, err = run_lab(
        capsys, "problem=run", "problem.run=run", "problem.checkpoints=all", "problem.batch_size=8",
        "estimators=[st,darn,disarm]", "hydra.run.dir=out", "batches=3", "draws=20",
    )  # fmt: skip
    assert code == 0, err
    with open(here / "out" / "table.csv") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert sorted(set(steps)) == [2, 4]
    assert len(steps) == 6
    title = json.loads((here / "out" / "summary.json").read_text())["title"]
    assert title == "vae on digits, trained with foust, step 4"
    for name in ("variance", "bias_percent", "snr"):
        assert (here / "out" / f"{name}.png").stat().st_size > 10_000
    code, _, err = run_lab(capsys, "problem=run", "problem.run=run", "problem.checkpoints=[3]")
    assert code == 2
    assert "choose last, all, or some of [2, 4]" in err


@pytest.mark.slow
def test_a_loss_that_mixes_its_examples_is_refused(here, capsys):
    (here / "mixed.py").write_text(
        "import jax.numpy as jnp, fsb\n"
        "params = jnp.zeros((3, 2))\n"
        "def loss(eta, sample):\n"
        "    b = sample('b', fsb.Bernoulli(), eta)\n"
        "    return (b - b.mean(0, keepdims=True)).sum(-1)\n"
    )
    code, _, err = run_lab(
        capsys, "problem=file", "problem.function=mixed.py:loss", "estimators=[st]", *FEW
    )
    assert code == 2
    assert "depends on the samples of another (BatchNorm?)" in err


def linear(eta, sample):
    return 2 * sample("b", fsb.Bernoulli(), eta).sum(-1)


@pytest.mark.slow
def test_quality_of_known_estimators(key):
    """DARN on a loss 2 b: g = 2 * (1 - p(b)) / 2, so that its moments are known."""
    eta = jnp.array([[0.8]])
    p = float(jax.nn.sigmoid(0.8))
    draw = jax.jit(gradient_moments(fsb.darn(), linear, 4, 500))
    batches = [draw(eta, ((), ()), k) for k in jax.random.split(key, 20)]
    found = quality(batches, fsb.exact_gradient(linear, eta).ravel())
    mean, second = 2 * p * (1 - p), p * (1 - p) ** 2 + (1 - p) * p**2
    variance = second - mean**2
    assert found.variance == pytest.approx(variance, rel=0.02)
    assert found.snr == pytest.approx(mean / np.sqrt(variance), rel=0.02)
    assert found.cosine == pytest.approx(mean / np.sqrt(second), rel=0.02)
    assert found.bias_z < 4
    wrong = quality(batches, jnp.array([mean + 0.1]))
    assert wrong.bias == pytest.approx(0.1, abs=4 * wrong.bias_error)
    assert wrong.bias_error == pytest.approx(np.sqrt(variance / 40_000), rel=0.6)
    assert wrong.bias_z > 4


def test_the_bias_has_no_bias():
    """Over many sets of batches: the square of the true bias, and the error that is claimed."""
    rng = np.random.default_rng(0)
    errors = 0.3 + rng.normal(size=(2000, 10, 4))
    squares, claimed = np.array([_square_norm(e) for e in errors]).T
    assert abs(squares.mean() - 4 * 0.3**2) < 4 * squares.std() / np.sqrt(2000)
    assert 0.9 < np.sqrt((claimed**2).mean()) / squares.std() < 1.35  # the jackknife is cautious


@pytest.mark.slow
def test_moments_are_those_of_the_draws(key):
    eta = jnp.array([[0.8, -0.2]])
    found = jax.jit(gradient_moments(fsb.foust(), linear, 3, 5))(eta, ((), ()), key)
    estimate = jax.jit(lambda k: fsb.value_and_grad(fsb.foust(), linear)(eta, k)[1].ravel())
    keys = [k for c in jax.random.split(key, 3) for k in jax.random.split(c, 5)]
    draws = np.array([estimate(k) for k in keys])
    assert int(found.draws) == 15
    np.testing.assert_allclose(found.mean, draws.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.squared_deviations, 15 * draws.var(0), rtol=1e-4)


@pytest.mark.slow
def test_evaluations_are_counted(key):
    def two(eta, sample):
        z = sample("z", fsb.Bernoulli(), eta)
        return sample("y", fsb.Bernoulli(), z - eta).sum(-1)

    eta = jnp.zeros((2, 2))
    for estimator, count in (
        (fsb.st(), 1),
        (fsb.disarm(), 3),
        (fsb.average(fsb.arm(), 4), 12),
        (fsb.exact(), 16),
        (fsb.local_expectation(), 5),
        (fsb.rebar(), 5),
        (fsb.rloo(3), 3),
    ):
        assert evaluations(estimator, two, eta, key) == count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "sites"),
    [
        (problems.toy(0.499), {"b": (1, 1)}),
        (problems.polynomial(1.5, units=3), {"b": (1, 3)}),
        (problems.mlp(4, layers=2), {"z1": (1, 4), "z2": (1, 4)}),
        (problems.mlp(2, values=3), {"z1": (1, 2, 3)}),
        (problems.sbn(3, 2, 5), {f"z{i}": (5, 2) for i in (1, 2, 3)}),
    ],
)
def test_problems(problem, sites, key):
    from fsb.sites import ancestral, bind

    losses, found = bind(problem.loss, problem.points[0])(ancestral(key))
    assert {site.name: site.z.shape for site in found} == sites
    assert np.isfinite(losses).all()


@pytest.mark.slow
def test_the_toy_has_the_gradient_of_the_papers():
    """p(1-p)(1-2t), at p = 1/2."""
    for target in (0.45, 0.49, 0.499):
        problem = problems.toy(target)
        exact = fsb.exact_gradient(problem.loss, problem.points[0])
        assert float(exact[0, 0]) == pytest.approx(0.25 * (1 - 2 * target), rel=1e-3)
