"""Every mistake on a command line: one line that helps, exit code 2, no folder."""

import os
import subprocess
import sys

import pytest
import yaml
from omegaconf import OmegaConf

from fsb.config import build, configs_dir, load_run_config, preflight, program
from fsb.schema import Evaluate, Train
from fsb.types import FsbError

CHOICES = [path.stem for path in sorted((configs_dir() / "estimator").glob("*.yaml"))]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test stands in an empty folder, and leaves none behind where it should not."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def build_parts(cfg):
    for key in ("estimator", "optimizer", "objective"):
        build(cfg[key], modules=cfg.modules)


# Each: the arguments, and what the one line must say. The second list is the slow tests'.
MISTAKES = [
    ("estimator=fosut", f"estimator: unknown 'fosut'; did you mean foust? (choices: {CHOICES[0]},"),
    ("estimatr=foust", "settings: unknown 'estimatr'; did you mean estimator?"),
    ("experimnt=compare", "settings: unknown 'experimnt'; did you mean experiment?"),
    ("data=mnits", "data: unknown 'mnits'; did you mean mnist?"),
    ("~estimator", "estimator: is missing"),
    ("max_stepss=3", "settings: unknown 'max_stepss'; did you mean max_steps?"),
    ("+max_stepss=3", "settings: unknown 'max_stepss'; did you mean max_steps?"),
    (
        "estimator.dleta=0.1",
        "estimator: unknown 'dleta'; did you mean delta? (choices: delta, gamma",
    ),
    ("model.layrs=2", "model: unknown 'layrs'; did you mean layers?"),
    ("data=mnist data.rooot=x", "data: unknown 'rooot'; did you mean root?"),
    ("estimator.delta.x=3", "estimator.delta.x: estimator.delta is a value, it has no keys"),
    ("max_steps=abc", "max_steps: abc is not a whole number (int)"),
    ("max_steps=", "max_steps: '' is not a whole number (int)"),
    ("estimator.delta=abc", "estimator.delta: abc is not a number (float)"),
    ("bound_samples=[100,0]", "bound_samples[1]: must be at least 1, got 0"),
    ("seed=${nope}", "seed: Interpolation key 'nope' not found"),
    ("max_steps=0", "max_steps: must be at least 1, got 0"),
    ("devices=0", "devices: must be at least 1, got 0"),
    ("optimizer.learning_rate=0", "optimizer: learning_rate must be positive and finite, got 0.0"),
    ("estimator.delta=2", "estimator: "),
    ("distributed.num_processes=2", "distributed.coordinator: several processes need one"),
    ("estimator=st,foust", "estimator=st,foust: several values; add --multirun to run each"),
    ("-m optimizer.learning_rate=1e-4,abc", "optimizer.learning_rate: abc is not a number (float)"),
    ("=3", "cannot read '=3': write key=value"),
    ("max_steps==", "cannot read 'max_steps==': write key=value"),
    ("max_steps", "cannot read 'max_steps': write key=value"),
    ("bound_samples=[1,2", "cannot read 'bound_samples=[1,2': write key=value, close brackets"),
    ("--multrun", "flags: unknown '--multrun'; did you mean --multirun?"),
    ("--max_steps=3", "--max_steps: settings take no dashes, as in max_steps=3"),
    ("--config-name=trian", "--config-name: unknown 'trian'; did you mean train?"),
    ("--config-dir=no/such", "--config-dir: no/such is not a folder"),
    ("--experimental-rerun=x.pickle", "--experimental-rerun: loads a pickle, which can run code"),
    ("estimator._target_=os.system", "estimator._target_: os.system is not allowed"),
    ("hydra.run.dir=/dev/null/x", "cannot make the folder /dev/null/x: Not a directory"),
]
MORE_MISTAKES = [
    ("optimizer=adm", "optimizer: unknown 'adm'; did you mean adam? (choices: adam, sgd)"),
    (
        "experiment=compare_mnits",
        "experiment: unknown 'compare_mnits'; did you mean compare_mnist?",
    ),
    ("model=null", "model: unknown None (choices: linear_vae, vae)"),
    ("hydra/launcher=basicc", "hydra/launcher: unknown 'basicc'; did you mean basic?"),
    ("~max_steps", "max_steps: is missing; give max_steps=..."),
    (
        "+estimator.dleta=0.1",
        "estimator: unknown 'dleta'; did you mean delta? (choices: delta, gamma",
    ),
    ("estimator=st estimator.delta=0.1", "estimator: unknown 'delta'"),
    ("distributed.coordinatr=x", "distributed: unknown 'coordinatr'; did you mean coordinator?"),
    ("hydra.run.dirr=x", "hydra.run: unknown 'dirr'; did you mean dir?"),
    ("max_steps=1.5", "max_steps: 1.5 is not a whole number (int)"),
    ("max_steps=true", "max_steps: true is not a whole number (int)"),
    ("max_steps=inf", "max_steps: Infinity is not a whole number (int)"),
    ("max_steps=null", "max_steps: null is not a whole number (int)"),
    ("estimator.importance_reweighing=2", "importance_reweighing: 2 is not true or false (bool)"),
    ("model.layers=two", "model.layers: two is not a whole number (int)"),
    ("bound_samples=100", "bound_samples: 100 is not a list, written [a,b]"),
    ("modules=mine", "modules: mine is not a list, written [a,b]"),
    ("modules=[no_such_module]", "modules[0]: there is no module no_such_module"),
    ("devices=all", "devices: all is not a whole number (int) or null"),
    ("seed=${oc.env:FSB_NO_SUCH}", "seed: KeyError raised while resolving interpolation"),
    ("batch_size=-1", "batch_size: must be at least 1, got -1"),
    ("seed=-1", "seed: must be at least 0 and at most 4294967295, got -1"),
    ("steps_per_call=0", "steps_per_call: must be at least 1, got 0"),
    (
        "optimizer.learning_rate=nan",
        "optimizer: learning_rate must be positive and finite, got nan",
    ),
    ("optimizer.momentum=1", "optimizer: momentum must be in [0, 1), got 1.0"),
    ("distributed.process_id=1", "distributed.process_id: must be below num_processes=1, got 1"),
    ("-m estimator=st,fosut", "estimator: unknown 'fosut'; did you mean foust?"),
    ("-m max_steps=range(2,-1,-1)", "max_steps: must be at least 1, got 0"),
    ("experiment=compare estimator.delta=0.1", "estimator: unknown 'delta'"),
    ("data.root='x", 'cannot read "data.root=\'x": write key=value, close brackets'),
    ("--config-name", "argument --config-name/-cn: expected one argument"),
    ("--config-path=no/such", "--config-path: no/such is not a folder"),
    ("--cfg=jbo", "argument --cfg/-c: invalid choice: 'jbo'"),
    ("--multirun --cfg=job", "only one of --run, --multirun, --cfg"),
    ("estimator._target_=fsb.config.os.system", "fsb.config.os.system is not allowed"),
    (
        "+estimator._partial_=true",
        "estimator._partial_: only _target_ and arguments may stand here",
    ),
    ("estimator._target_=fsb.estimators.fosut", "did you mean fsb.estimators.foust?"),
    ("hydra.run.dir=" + 300 * "x", "cannot make the folder"),
]


@pytest.mark.parametrize(
    ("line", "says"),
    [pytest.param(*case, id=case[0][:60]) for case in MISTAKES]
    + [pytest.param(*case, id=case[0][:60], marks=pytest.mark.slow) for case in MORE_MISTAKES],
)
def test_mistake_is_one_line(line, says, elsewhere):
    with pytest.raises(FsbError) as caught:
        preflight("train", line.split(" "), Train, build_parts)
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert not list(elsewhere.iterdir())


GOOD = [
    ("", 1),
    ("data=mnist model.layers=2 estimator=foust optimizer=sgd max_steps=20000", 1),
    ("max_steps=2e4 bound_samples=[] devices=2 logger=wandb", 1),
    ("model=linear_vae model.layers=3", 1),
    ("estimator=st --multirun optimizer.learning_rate=1e-4,2e-4", 2),
    ("-m estimator=glob(*softmax) seed=range(3)", 6),
    ("--cfg job seed=1", 1),
    ("hydra.searchpath=[file:///] seed=1", 1),
]


@pytest.mark.parametrize(("line", "jobs"), GOOD, ids=[line for line, _ in GOOD])
def test_good_lines_pass(line, jobs, elsewhere):
    assert len(preflight("train", line.split(), Train, build_parts)) == jobs
    assert not list(elsewhere.iterdir())


SWEEPS = {"compare": 4, "compare_mnist": 4, "compare_omniglot": 4}
SWEEPS |= {"fig2_omniglot": 2, "fig4_mnist": 3, "fig4_mnist_deep": 2}
GRIDS = {"sgd": 4, "foust": 8, "gumbel_softmax": 8, "muprop": 7, "rebar": 5}


@pytest.mark.slow
@pytest.mark.parametrize("group", ["experiment", "sweep"])
def test_every_experiment_and_sweep_composes(group):
    expected = SWEEPS if group == "experiment" else GRIDS
    for name, count in expected.items():
        jobs = preflight("train", [f"{group}={name}"], Train, build_parts)
        assert len(jobs) == len({str(job) for job in jobs}) == count, name
    assert {path.stem for path in (configs_dir() / group).glob("*.yaml")} >= set(expected)


@pytest.mark.slow
def test_a_sweep_is_the_product_of_grid_and_experiment():
    jobs = preflight("train", ["experiment=fig2_omniglot", "sweep=foust"], Train)
    grid = {(j.model.layers, j.optimizer.learning_rate, j.estimator.delta) for j in jobs}
    rates = (1e-4, 2e-4, 4e-4, 6e-4)
    assert grid == {(n, rate, delta) for n in (1, 2) for rate in rates for delta in (0.1, 0.2)}
    assert {j.data._target_ for j in jobs} == {"fsb.data.omniglot"}


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
    with pytest.raises(FsbError, match=r"own_estimators.own is not allowed"):
        preflight("train", line, Train)
    (cfg,) = preflight("train", [*line, "modules=[own_estimators]"], Train)
    assert build(cfg.estimator, modules=cfg.modules) == 2.0
    with pytest.raises(FsbError, match=r"estimator.scale: big is not a number \(float\)"):
        preflight("train", [*line, "modules=[own_estimators]", "estimator.scale=big"], Train)
    (elsewhere / "mine/estimator/broken.yaml").write_text("a: [1\n")
    with pytest.raises(FsbError, match=r"expected ',' or ']'.*, line 2 of .*broken.yaml"):
        preflight("train", ["--config-dir", "mine", "estimator=broken"], Train)


def test_evaluate_needs_a_run():
    with pytest.raises(FsbError, match=r"run: is required; give run=..."):
        preflight("evaluate", [], Evaluate)
    (cfg,) = preflight("evaluate", ["run=some/folder"], Evaluate)
    assert cfg.bound_samples == [100, 200]
    with pytest.raises(FsbError, match="checkpoint: unknown 'bset'; did you mean best"):
        preflight("evaluate", ["run=x", "checkpoint=bset"], Evaluate)


def test_resume_runs_in_the_folder_it_resumes(elsewhere, capsys):
    folders = []

    @program("train", Train)
    def main(cfg):
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
    def main(cfg):
        raise error

    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == code
    expected = "fsb: error: no such data\n" if code == 2 else ""
    assert capsys.readouterr().err == expected


def test_a_bug_is_not_hidden():
    @program("train", Train)
    def main(cfg):
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        main([])


def test_a_failing_job_leaves_the_others_running(capsys):
    done = []

    @program("train", Train)
    def main(cfg):
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

    main = program("train", Train, check)(lambda cfg: pytest.fail("it ran"))
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert capsys.readouterr().err == "fsb: error: data.root: there is no such folder\n"
    assert not list(elsewhere.iterdir())


def test_cfg_and_help_print_and_run_nothing(elsewhere, capsys):
    main = program("train", Train)(lambda cfg: pytest.fail("it ran"))
    main(["--cfg", "job", "seed=7"])
    assert yaml.safe_load(capsys.readouterr().out)["seed"] == 7
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "estimator: " in capsys.readouterr().out
    assert not list(elsewhere.iterdir())


PROGRAM = """
from fsb.config import program
from fsb.schema import Train

@program("train", Train)
def main(cfg):
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
        ("seed=0 --multrun", 2, "fsb: error: flags: unknown '--multrun'; did you mean --multirun?"),
        ("seed=13", 1, "ZeroDivisionError: division by zero"),
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


STRANGERS = [
    (
        {"estimator": {"_target_": "os.system", "command": "touch pwned"}},
        "os.system is not allowed",
    ),
    ({"modules": ["os"], "estimator": {"_target_": "os.system"}}, "os.system is not allowed"),
    ({"model": {"_target_": "fsb.train.subprocess.run"}}, "is not allowed"),
    ({"model": {"_target_": "fsb.factory.resolve", "target": "os.system"}}, "is not allowed"),
    ({"model": {"_target_": "fsb.files.write_text_atomic"}}, "is not allowed"),
    (
        {"model": {"_target_": "fsb.networks.vae", "prior": {"_target_": "os.system"}}},
        "not allowed",
    ),
    ({"compilation_cache": "${oc.env:HOME}"}, "holds an interpolation, an alias"),
    ({"model": {"_target_": "fsb.networks.vae", "layers": "many"}}, "model.layers: many is not"),
    ({"extra": 1}, "settings: unknown 'extra'"),
]


@pytest.mark.parametrize(("changes", "says"), STRANGERS)
def test_a_strangers_config_runs_nothing(changes, says, elsewhere):
    (elsewhere / "config.yaml").write_text(yaml.safe_dump(run_config(**changes)))
    with pytest.raises(FsbError) as caught:
        load_run_config(elsewhere, Train)
    assert says in str(caught.value)
    assert os.listdir(elsewhere) == ["config.yaml"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"!!python/object/apply:os.system ['touch pwned']", "could not determine a constructor"),
        (b"a: &a [1]\nb: [*a, *a]", "holds an interpolation, an alias"),
        (b"[" * 9000, "nesting that no run writes"),
        (b"x" * 300_000, "is larger than"),
        (b"\xff\xfe\x00", "config.yaml: "),
        (b"- 1", "is not a group of keys"),
        (b"", "is not a group of keys"),
        (b"a: [1", "expected ',' or ']'"),
    ],
)
def test_a_broken_run_config_is_one_line(content, says, elsewhere):
    (elsewhere / "config.yaml").write_bytes(content)
    with pytest.raises(FsbError) as caught:
        load_run_config(elsewhere, Train)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.listdir(elsewhere) == ["config.yaml"]


def test_no_run_folder(elsewhere):
    with pytest.raises(FsbError, match="nope does not exist"):
        load_run_config("nope", Train)
    with pytest.raises(FsbError, match=r"is not a run folder: it holds no config\.yaml"):
        load_run_config(elsewhere, Train)
