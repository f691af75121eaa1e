"""Programs: exit codes and folders; run folders from strangers. Mistakes are in test_compose."""

import contextlib
import os
import subprocess
import sys

import pytest
import yaml
from omegaconf import OmegaConf

from fsb.cli.factory import build
from fsb.cli.program import preflight, program
from fsb.cli.saved import RENAMED, load_run_config
from fsb.cli.schema import Evaluate, Train
from fsb.errors import FsbError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test stands in an empty folder, and leaves none behind where it should not."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_main_gets_is_converted_resolved_and_closed():
    (cfg,) = preflight("train", ["max_steps=1e4", "estimator.delta=1"], Train)
    assert (cfg.max_steps, type(cfg.max_steps)) == (10000, int)
    assert cfg.compilation_cache == os.environ["FSB_CACHE"] + "/jax"
    assert "hydra" not in cfg
    assert "${" not in OmegaConf.to_yaml(cfg)
    with pytest.raises(AttributeError):
        cfg.max_stepss = 3


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


def test_evaluate_needs_a_run():
    with pytest.raises(FsbError, match=r"run: is required; give run=..."):
        preflight("evaluate", [], Evaluate)
    (cfg,) = preflight("evaluate", ["run=some/folder"], Evaluate)
    assert cfg.bound_samples == [100, 200]
    with pytest.raises(FsbError, match=r"checkpoint: must be 'last' or 'best', got .bset.; did"):
        preflight("evaluate", ["run=x", "checkpoint=bset"], Evaluate)


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


@pytest.mark.parametrize(
    ("error", "code"), [(FsbError("no such data"), 2), (KeyboardInterrupt(), 130)]
)
def test_exit_codes_of_a_run(error, code, capsys):
    @program("train", Train)
    def main(cfg, checked):
        raise error

    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == code
    expected = "fsb: error: no such data\n" if code == 2 else ""
    assert capsys.readouterr().err == expected


def test_a_bug_is_not_hidden():
    @program("train", Train)
    def main(cfg, checked):
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        main([])


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


def test_the_check_of_a_program_comes_before_its_folder(elsewhere, capsys):
    def check(cfg):
        raise FsbError("data.root: there is no such folder")

    main = program("train", Train, check)(lambda cfg, checked: pytest.fail("it ran"))
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert capsys.readouterr().err == "fsb: error: data.root: there is no such folder\n"
    assert not list(elsewhere.iterdir())


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


def test_what_a_check_built_goes_to_its_own_job_alone(elsewhere):
    got = []
    main = program("train", Train, lambda cfg: "built")(lambda cfg, checked: got.append(checked))
    main(["hydra.run.dir=a", "compilation_cache=${now:%f}"])  # another value each time it is asked
    assert got == [None]
    main(["hydra.run.dir=a", "--cfg", "job"])
    assert got == [None]


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


def run_config(**changes):
    (cfg,) = preflight("train", [], Train)
    return {**OmegaConf.to_container(cfg), **changes}


def test_a_run_config_comes_back_as_written(elsewhere):
    (elsewhere / "config.yaml").write_text(yaml.safe_dump(run_config(modules=["os"])))
    again = load_run_config(elsewhere, Train)
    assert again.modules == []  # what a stranger trusts does not count
    assert OmegaConf.to_container(again) == run_config()


PROBLEM = {"_target_": "fsb.lab.problems.file", "function": "pwn.py:f"}
STRANGERS = [
    ({"estimator": {"_target_": "os.system", "command": "touch pwned"}}, "is not an estimator"),
    ({"modules": ["os"], "estimator": {"_target_": "os.system"}}, "os.system is not an estimator"),
    ({"model": {"_target_": "fsb.train.subprocess.run"}}, "fsb.train.subprocess.run is not a netw"),
    ({"model": {"_target_": "fsb.cli.factory.resolve", "target": "os.system"}}, "is not a network"),
    ({"model": {"_target_": "fsb.storage.atomic.write_text_atomic"}}, "is not a network"),
    ({"model": {"_target_": "fsb.networks.vae", "prior": {"_target_": "os.system"}}}, "is not a d"),
    ({"model": {"_target_": "fsb.lab.problems.file", "function": "pwn.py:f"}}, "is not a network"),
    ({"data": {"_target_": "fsb.lab.problems.run", "run": "."}}, "is not a data set"),
    (
        {"estimator": {"_target_": "fsb.estimators.average", "estimator": PROBLEM}},
        "estimator.estimator._target_: fsb.lab.problems.file is not an estimator",
    ),
    ({"problem": PROBLEM}, "settings: unknown 'problem'"),
    ({"estimator": {"_target_": ["os", "system"]}}, "is not a public dotted name"),
    ({"estimator": {"delta": 0.1}}, "estimator: its configuration has no _target_"),
    ({"compilation_cache": "${oc.env:HOME}"}, "holds an interpolation"),
    ({"compilation_cache": "a\n${oc.env:HOME}"}, "holds an interpolation"),
    ({"data": {"_target_": "fsb.data.mnist", "${oc.env:HOME}": 1}}, "holds an interpolation"),
    ({"bound_samples": ["${seed}"]}, "holds an interpolation"),
    (
        {"model": {"_target_": "fsb.networks.vae", "layers": "many"}},
        "model.layers: must be a",
    ),
    ({"optimizer": {"_target_": "fsb.optimizers.sgd", "learning_rate": float("nan")}}, "got NaN"),
    ({"extra": 1}, "settings: unknown 'extra'"),
]


@pytest.mark.parametrize(("changes", "says"), STRANGERS)
def test_a_strangers_config_runs_nothing(changes, says, elsewhere):
    (elsewhere / "pwn.py").write_text("open('pwned', 'w')\n")
    (elsewhere / "config.yaml").write_text(yaml.safe_dump(run_config(**changes)))
    with pytest.raises(FsbError) as caught:
        load_run_config(elsewhere, Train)
    assert says in str(caught.value)
    assert sorted(os.listdir(elsewhere)) == ["config.yaml", "pwn.py"]


def test_no_module_of_a_stranger_is_imported(elsewhere, monkeypatch):
    (elsewhere / "evil_toy.py").write_text("open('pwned', 'w')\n")
    monkeypatch.syspath_prepend(elsewhere)
    for changes in ({"modules": ["evil_toy"]}, {"estimator": {"_target_": "evil_toy.f"}}):
        (elsewhere / "config.yaml").write_text(yaml.safe_dump(run_config(**changes)))
        with contextlib.suppress(FsbError):
            assert load_run_config(elsewhere, Train).modules == []
    assert not (elsewhere / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"!!python/object/apply:os.system ['touch pwned']", "could not determine a constructor"),
        (b"a: &a [1]\nb: [*a, *a]", "holds an alias or nesting that no run writes"),
        (b"[" * 9000, "nesting that no run writes"),
        (b"x" * 300_000, "is larger than"),
        (b"\xff\xfe\x00", "config.yaml: "),
        (b"- 1", "is not a group of keys"),
        (b"", "data: is missing"),
        (b"just text", "config.yaml: "),
        (b"a: [1", "expected ',' or ']'"),
        (b'compilation_cache: "\\x24{oc.env:HOME}"', "holds an interpolation"),
        (b'compilation_cache: "\\u0024\\u007boc.env:HOME}"', "holds an interpolation"),
        (b'"\\x24{oc.env:HOME}": 1', "holds an interpolation"),
        (b'a: "\\x24{"', "config.yaml: "),
    ],
)
def test_a_broken_run_config_is_one_line(content, says, elsewhere):
    (elsewhere / "config.yaml").write_bytes(content)
    with pytest.raises(FsbError) as caught:
        load_run_config(elsewhere, Train)
    assert says in str(caught.value)
    assert os.environ["HOME"] not in str(caught.value).replace(str(elsewhere), "")
    assert "\n" not in str(caught.value)
    assert os.listdir(elsewhere) == ["config.yaml"]


def test_a_dollar_sign_in_a_comment_is_no_interpolation(elsewhere):
    text = yaml.safe_dump(run_config())
    (elsewhere / "config.yaml").write_text(text + "# ${nothing}\n")
    assert OmegaConf.to_container(load_run_config(elsewhere, Train)) == run_config()


def test_old_names_of_factories_are_known_at_every_depth(elsewhere, monkeypatch):
    monkeypatch.setitem(RENAMED, "fsb.old.st", "fsb.estimators.st")
    nested = {"_target_": "fsb.estimators.average", "estimator": {"_target_": "fsb.old.st"}}
    sites = {
        "_target_": "fsb.estimators.per_site",
        "estimators": {"z1": {"_target_": "fsb.old.st"}},
    }
    logger = {"_target_": "fsb.log.no_logger"}
    for estimator in (nested, sites):
        config = run_config(logger=logger, estimator=estimator)
        (elsewhere / "config.yaml").write_text(yaml.safe_dump(config))
        again = load_run_config(elsewhere, Train)
        assert again.logger._target_ == "fsb.storage.loggers.no_logger"
        assert "fsb.old" not in OmegaConf.to_yaml(again)
        assert "fsb.estimators.st" in OmegaConf.to_yaml(again)


@pytest.mark.parametrize("kind", ["fifo", "device", "loop", "folder"])
def test_a_config_that_is_no_file_is_refused_at_once(kind, elsewhere):
    path = elsewhere / "config.yaml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path)
    with pytest.raises(FsbError, match=r"its config\.yaml is not a file"):
        load_run_config(elsewhere, Train)


def test_no_run_folder(elsewhere):
    with pytest.raises(FsbError, match="run folder nope: does not exist"):
        load_run_config("nope", Train)
    with pytest.raises(FsbError, match=r"holds no config\.yaml"):
        load_run_config(elsewhere, Train)
