"""Programs: exit codes, folders, and what is built once. Mistakes are in test_compose."""

import os
import subprocess
import sys

import pytest
import yaml
from jax.errors import JaxRuntimeError
from omegaconf import OmegaConf

from fsb.cli.factory import build
from fsb.cli.program import preflight, program
from fsb.cli.schema import Evaluate, Train
from fsb.errors import FsbError
from fsb.runtime.memory import CURE


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test stands in an empty folder, and leaves none behind where it should not."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_what_main_gets_is_converted_resolved_and_closed():
    (cfg,) = preflight("train", ["max_steps=1e4", "estimator.delta=1"], Train)
    assert (cfg.max_steps, type(cfg.max_steps)) == (10000, int)
    assert cfg.compilation_cache == os.environ["FSB_CACHE"] + "/jax"
    assert "hydra" not in cfg
    assert "${" not in OmegaConf.to_yaml(cfg)
    with pytest.raises(AttributeError):
        cfg.max_stepss = 3


@pytest.mark.slow
def test_own_configs_and_modules(elsewhere, monkeypatch):
    (elsewhere / "mine" / "estimator").mkdir(parents=True)
    (elsewhere / "mine/estimator/own.yaml").write_text("_target_: own_estimators.own\nscale: 2\n")
    (elsewhere / "own_estimators.py").write_text("def own(scale: float): return scale\n")
    monkeypatch.syspath_prepend(elsewhere)
    line = ["--config-dir", "mine", "estimator=own"]
    with pytest.raises(FsbError, match=r"own_estimators.own is not an estimator"):
        preflight("train", line, Train)
    (cfg,) = preflight("train", [*line, "modules=[own_estimators]"], Train)
    assert build(cfg, "estimator") == 2.0
    with pytest.raises(FsbError, match=r'estimator.scale: must be a valid number, got "big"'):
        preflight("train", [*line, "modules=[own_estimators]", "estimator.scale=big"], Train)
    (elsewhere / "mine/estimator/broken.yaml").write_text("a: [1\n")
    with pytest.raises(FsbError, match=r"expected ',' or ']'.*, line 2 of .*broken.yaml"):
        preflight("train", ["--config-dir", "mine", "estimator=broken"], Train)


@pytest.mark.slow
def test_evaluate_needs_a_run():
    with pytest.raises(FsbError, match=r"run: is required; give run=..."):
        preflight("evaluate", [], Evaluate)
    (cfg,) = preflight("evaluate", ["run=some/folder"], Evaluate)
    assert cfg.bound_samples == [100, 200]
    with pytest.raises(FsbError, match=r"checkpoint: must be 'last' or 'best', got .bset.; did"):
        preflight("evaluate", ["run=x", "checkpoint=bset"], Evaluate)


@pytest.mark.slow
def test_resume_runs_in_the_folder_it_resumes(elsewhere, capsys):
    folders = []

    @program("train", Train)
    def main(cfg, checked):
        from hydra.core.hydra_config import HydraConfig

        folders.append(os.path.relpath(HydraConfig.get().runtime.output_dir))

    (elsewhere / "old").mkdir()
    main(["resume=old"])
    main(["hydra.run.dir=new"])
    assert folders == ["old", "new"]
    assert sorted(os.listdir(elsewhere)) == ["new", "old"]
    assert not os.listdir("new")  # Hydra's own records are switched off


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (FsbError("no such data"), 2, "error: no such data"),
        (
            JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nMore."),
            2,
            f"error: no memory left: {CURE} (Out of memory allocating 9 bytes.)",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_exit_codes_of_a_run(error, code, says, capsys):
    @program("train", Train)
    def main(cfg, checked):
        raise error

    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == code
    assert capsys.readouterr().err == f"fsb: {says}\n"


@pytest.mark.slow
def test_a_bug_is_not_hidden():
    @program("train", Train)
    def main(cfg, checked):
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        main([])


@pytest.mark.slow
def test_a_failing_job_leaves_the_others_running(capsys):
    done = []

    @program("train", Train)
    def main(cfg, checked):
        if cfg.seed == 0:
            raise FsbError("seed 0 is unlucky")
        done.append(cfg.seed)

    with pytest.raises(SystemExit) as caught:
        main(["--multirun", "seed=0,1,2"])
    assert caught.value.code == 2
    assert done == [1, 2]
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fsb:")]
    assert errors == ["fsb: error: seed 0 is unlucky"]


@pytest.mark.slow
def test_the_check_of_a_program_comes_before_its_folder(elsewhere, capsys):
    def check(cfg):
        raise FsbError("data.root: there is no such folder")

    main = program("train", Train, check)(lambda cfg, checked: pytest.fail("it ran"))
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert capsys.readouterr().err == "fsb: error: data.root: there is no such folder\n"
    assert not list(elsewhere.iterdir())


@pytest.mark.slow
def test_a_run_gets_what_its_check_built(elsewhere):
    built = []

    def check(cfg):
        built.append(object())
        return built[-1]

    got = []
    main = program("train", Train, check)(lambda cfg, checked: got.append(checked))
    main(["hydra.run.dir=a"])
    main(["hydra.run.dir=b"])
    assert got == built
    assert len(built) == 2


@pytest.mark.slow
def test_a_sweep_checks_its_first_job_alone(elsewhere, capsys):
    checks, jobs = [], []

    def check(cfg):
        checks.append(cfg.seed)
        return f"built for seed {cfg.seed}"

    @program("train", Train, check)
    def main(cfg, checked):
        assert checks == [5]
        if cfg.seed == 6:
            raise FsbError("seed 6 is unlucky")
        jobs.append((cfg.seed, checked))

    with pytest.raises(SystemExit) as caught:
        main(["--multirun", "seed=5,6,7"])
    assert caught.value.code == 2
    assert jobs == [(5, "built for seed 5"), (7, None)]
    assert "fsb: error: seed 6 is unlucky\n" in capsys.readouterr().err


@pytest.mark.slow
def test_what_a_check_built_goes_to_its_own_job_alone(elsewhere):
    got = []
    main = program("train", Train, lambda cfg: "built")(lambda cfg, checked: got.append(checked))
    main(["hydra.run.dir=a", "compilation_cache=${now:%f}"])  # another value each time it is asked
    assert got == [None]
    main(["hydra.run.dir=a", "--cfg", "job"])
    assert got == [None]


@pytest.mark.slow
def test_cfg_and_help_print_and_run_nothing(elsewhere, capsys):
    main = program("train", Train)(lambda cfg, checked: pytest.fail("it ran"))
    main(["--cfg", "job", "seed=7"])
    assert yaml.safe_load(capsys.readouterr().out)["seed"] == 7
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "estimator: " in capsys.readouterr().out
    assert not list(elsewhere.iterdir())


PROGRAM = """
from fsb.cli.program import program
from fsb.cli.schema import Train

@program("train", Train)
def main(cfg, checked):
    if cfg.seed == 13:
        1 / 0
    print("ran", cfg.seed)

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("estimator=fosut", 2, "fsb: error: estimator: unknown 'fosut'; did you mean foust?"),
        pytest.param(
            "seed=0 --multrun",
            2,
            "fsb: error: flags: unknown '--multrun'; did you mean --multirun?",
            marks=pytest.mark.slow,
        ),
        pytest.param("seed=13", 1, "ZeroDivisionError: division", marks=pytest.mark.slow),
    ],
)
def test_as_a_program(line, code, says, elsewhere):
    (elsewhere / "toy.py").write_text(PROGRAM)
    command = [sys.executable, "toy.py", *line.split()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == code, ended.stderr
    assert says in ended.stderr
    if code == 2:
        assert len(ended.stderr.splitlines()) == 1
        assert os.listdir(elsewhere) == ["toy.py"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modules", "code", "says"),
    [
        ("['']", 2, "fsb: error: modules[0]: '' is not the name of a module"),
        ("['.']", 2, "fsb: error: modules[0]: '.' is not the name of a module"),
        ("[../x]", 2, "fsb: error: modules[0]: '../x' is not the name of a module"),
        ("[no_python]", 2, "no_python.py, line 1: "),
        ("[raises]", 1, "ZeroDivisionError: division by zero"),
    ],
)
def test_modules_that_cannot_be_imported(modules, code, says, elsewhere):
    (elsewhere / "toy.py").write_text(PROGRAM)
    (elsewhere / "no_python.py").write_text("def f(:\n")
    (elsewhere / "raises.py").write_text("1 / 0\n")
    command = [sys.executable, "toy.py", f"modules={modules}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == code, ended.stderr
    assert says in ended.stderr
    assert ("Traceback" in ended.stderr) == (code == 1)
    assert not (elsewhere / "runs").exists()
