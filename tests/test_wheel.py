"""The wheel holds all that the programs need, outside the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TINY = ("model.width=8", "max_steps=5", "batch_size=16", "eval_examples=32", "bound_samples=[2]")
MINE = '''
from fsb.estimators import st


def own(scale: float = 1.0):
    """An estimator of the user's own."""
    assert scale == 2.0
    return st()
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the wheel unpacked, as an installer leaves it."""
    pytest.importorskip("hatchling", reason="builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("fsb-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(site, cwd, *arguments):
    """A program of the wheel, run from another folder, with the dependencies of this Python."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(site)},
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_trains_and_evaluates_from_anywhere(site, tmp_path):
    where = run(site, tmp_path, "fsb.train", "--cfg", "job")
    assert "max_steps: 10000" in where
    run(site, tmp_path, "fsb.train", *TINY, "hydra.run.dir=run", "devices=1")
    assert (tmp_path / "run" / "summary.json").exists()
    out = run(site, tmp_path, "fsb.evaluate", "run=run", "bound_samples=[2]", "devices=1")
    assert "test_bound_2" in out
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_a_users_own_estimator(site, tmp_path):
    (tmp_path / "my_mod.py").write_text(MINE)
    own = ["estimator=st", "estimator._target_=my_mod.own", "+estimator.scale=2"]
    run(site, tmp_path, "fsb.train", *TINY, *own, "modules=[my_mod]", "hydra.run.dir=run")
    # the run goes on for those who name the module, for it names none itself
    out = run(site, tmp_path, "fsb.train", "resume=run", "max_steps=7", "modules=[my_mod]")
    assert "digits own: " in out


@pytest.mark.slow
@pytest.mark.parametrize("example", ["vae_jax", "many_seeds"])
def test_an_example_runs_from_anywhere(site, tmp_path, example):
    shutil.copytree(ROOT / "examples", tmp_path / "copied")
    assert "negative ELBO" in run(site, tmp_path / "copied", example, "2")


def test_what_the_wheel_is_made_of():
    """Every configuration is under configs/, which the wheel takes in as a whole."""
    import tomllib

    target = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert target["targets"]["wheel"]["force-include"] == {"configs": "fsb/configs"}
    assert not list((ROOT / "fsb").rglob("*.yaml"))
