"""Run folders from strangers: what a saved configuration may not do."""

import contextlib
import os

import pytest
import yaml
from omegaconf import OmegaConf

from fsb.cli.program import preflight
from fsb.cli.saved import RENAMED, load_run_config
from fsb.cli.schema import Train
from fsb.errors import FsbError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test stands in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_config(**changes):
    (cfg,) = preflight("train", [], Train)
    return {**OmegaConf.to_container(cfg), **changes}


@pytest.mark.slow
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


@pytest.mark.slow
def test_no_module_of_a_stranger_is_imported(elsewhere, monkeypatch):
    (elsewhere / "evil_toy.py").write_text("open('pwned', 'w')\n")
    monkeypatch.syspath_prepend(elsewhere)
    for changes in ({"modules": ["evil_toy"]}, {"estimator": {"_target_": "evil_toy.f"}}):
        (elsewhere / "config.yaml").write_text(yaml.safe_dump(run_config(**changes)))
        with contextlib.suppress(FsbError):
            assert load_run_config(elsewhere, Train).modules == []
    assert not (elsewhere / "pwned").exists()


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_dollar_sign_in_a_comment_is_no_interpolation(elsewhere):
    text = yaml.safe_dump(run_config())
    (elsewhere / "config.yaml").write_text(text + "# ${nothing}\n")
    assert OmegaConf.to_container(load_run_config(elsewhere, Train)) == run_config()


@pytest.mark.slow
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
    with pytest.raises(
        FsbError, match=r"config\.yaml is (no regular file|a symbolic link)|holds no config\.yaml"
    ):
        load_run_config(elsewhere, Train)


def test_no_run_folder(elsewhere):
    with pytest.raises(FsbError, match="run folder nope: does not exist"):
        load_run_config("nope", Train)
    with pytest.raises(FsbError, match=r"holds no config\.yaml"):
        load_run_config(elsewhere, Train)


@pytest.mark.slow
def test_a_link_in_the_folder_is_refused(elsewhere):
    (elsewhere / "config.yaml").write_text(yaml.safe_dump(run_config()))
    (elsewhere / "curves.png").symlink_to("config.yaml")
    with pytest.raises(FsbError, match=r"curves.png is a symbolic link; a run makes none$"):
        load_run_config(elsewhere, Train)
