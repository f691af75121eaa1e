"""Building from configurations, and what a configuration may not do."""

import sys
from types import ModuleType

import pytest
from omegaconf import OmegaConf

from fsb.cli.factory import INNER, KINDS, OWN, build, resolve, verify
from fsb.cli.modules import from_file, imported
from fsb.errors import FsbError

SOURCE = """
import os
from subprocess import run
from fsb.errors import FsbError

class Box:
    def __init__(self, inside: "Box | None" = None, size: int = 1):
        self.inside, self.size = inside, size

def pair(first: Box, second: Box = Box(), *, scale: float = 1.0):
    return first, second, scale

def several(boxes: list[Box], extra: dict | None = None):
    return boxes, extra

def open_ended(a: int = 0, **others):
    return a, others

def picky(level: int):
    raise FsbError("level must be odd")

def named(level: int):
    raise FsbError("model.level must be odd")

def unevaluated(level: "NoSuchName" = 0):
    return level

def _private(): ...
constant = 3
"""


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    module = ModuleType("toy")
    monkeypatch.setitem(sys.modules, "toy", module)
    exec(SOURCE, module.__dict__)
    return module


def make(node, *args, **kwargs):
    return build({"estimator": node, "modules": ["toy"]}, "estimator", *args, **kwargs)


def error_of(node, *args, modules=("toy",), **kwargs):
    with pytest.raises(FsbError) as caught:
        build({"estimator": node, "modules": modules}, "estimator", *args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nested_nodes_are_built_first(toy):
    node = {"_target_": "toy.pair", "first": {"_target_": "toy.Box", "size": 2.0}, "scale": 3}
    first, _, scale = make(node)
    assert (first.size, scale, type(scale)) == (2, 3.0, float)
    box = {"_target_": "toy.Box"}
    boxes, extra = make({"_target_": "toy.several", "boxes": [box, box], "extra": {"a": [box]}})
    assert [type(b) for b in (*boxes, *extra["a"])] == [toy.Box] * 3
    assert make({"_target_": "toy.several", "boxes": [], "extra": {"a": [1, {"b": 2}]}})[1] == {
        "a": [1, {"b": 2}]
    }


def test_arguments_of_the_program(toy):
    given = toy.Box()
    assert make({"_target_": "toy.pair", "scale": 2}, given)[0] is given
    assert make({"_target_": "toy.pair"}, given, scale=5.0)[2] == 5.0
    message = error_of({"_target_": "toy.pair", "first": {"_target_": "toy.Box"}}, given)
    assert message == "estimator.first: is given by the program, not by the configuration"
    assert "given by the program" in error_of({"_target_": "toy.pair", "scale": 1}, given, scale=2)


def test_open_ended_factories_take_any_key():
    assert make({"_target_": "toy.open_ended", "a": 1, "b": "x"}) == (1, {"b": "x"})
    assert "estimator.a: must be a valid integer, got" in error_of(
        {"_target_": "toy.open_ended", "a": "x"}
    )
    assert make({"_target_": "toy.unevaluated", "level": "x"}) == "x"


def test_wrong_arguments_are_named_in_full():
    config = OmegaConf.create(
        {"model": {"_target_": "toy.pair", "first": {"_target_": "toy.Box"}}, "modules": ["toy"]}
    )
    for key, value, says in [
        (
            "model.scael",
            1,
            "model: unknown 'scael'; did you mean scale? (choices: first, scale, second)",
        ),
        ("model.scale", "x", 'model.scale: must be a valid number, got "x"'),
        ("model.first.size", "x", 'model.first.size: must be a valid integer, got "x"'),
        ("model.first", 3, "model.first: must be Box from a _target_, got 3"),
        ("model._partial_", True, "model._partial_: only _target_ and arguments may stand here"),
        ("model._args_", [1], "model._args_: only _target_ and arguments may stand here"),
        (
            "model._target_",
            "toy.pear",
            "model._target_: unknown 'toy.pear'; did you mean toy.pair?",
        ),
    ]:
        changed = OmegaConf.merge(config, OmegaConf.create())
        OmegaConf.update(changed, key, value, merge=False, force_add=True)
        for check in (build, verify):
            with pytest.raises(FsbError) as caught:
                check(changed, "model")
            assert str(caught.value).startswith(says)


def test_missing_arguments_and_refusals_name_the_node():
    config = OmegaConf.create({"model": {"_target_": "toy.picky"}, "modules": ["toy"]})

    def error():
        with pytest.raises(FsbError) as caught:
            build(config, "model")
        return str(caught.value)

    assert error() == "model: missing a required argument: 'level' of toy.picky"
    verify(config, "model")  # the program may give it
    config.model.level = 2
    assert error() == "model: level must be odd"
    config.model._target_ = "toy.named"
    assert error() == "model.level must be odd"


def test_verify_calls_nothing(toy):
    toy.Box.__init__ = lambda self, size=1: pytest.fail("it was built")
    node = {"_target_": "toy.pair", "first": {"_target_": "toy.Box"}}
    verify({"model": node, "modules": ["toy"]}, "model")


def test_an_inner_factory_may_make_anything(toy):
    toy.three = lambda: 3
    toy.three.__module__ = "toy"
    node = {"_target_": "toy.Box", "size": {"_target_": "toy.three"}}
    verify({"model": node, "modules": ["toy"]}, "model")
    assert make(node).size == 3
    toy.three = lambda: "three"
    toy.three.__module__ = "toy"
    assert error_of(node) == 'estimator.size: must be a valid integer, got "three"'


def test_everything_is_checked_before_anything_is_built(toy):
    toy.Box.__init__ = lambda self, size=1: pytest.fail("it was built")
    box = {"_target_": "toy.Box"}
    for wrong, says in [
        ({"_target_": "os.system"}, "estimator.boxes[1]._target_: os.system is not a data set or"),
        ({"_target_": "toy.Box", "sise": 1}, "estimator.boxes[1]: unknown 'sise'"),
    ]:
        assert says in error_of({"_target_": "toy.several", "boxes": [box, wrong]})
    assert "is not an estimator" in error_of({"_target_": "fsb.data.mnist", "root": box})


KEYS = ["data", "model", "estimator", "objective", "optimizer", "control_optimizer", "logger"]
OF_A_KIND = {key: KINDS[key].module + "." + KINDS[key].choices()[0] for key in KEYS}
OF_A_KIND |= {"problem": "fsb.lab.problems.toy", "distribution": "fsb.distributions.Normal"}


@pytest.mark.parametrize("key", sorted(KINDS))
def test_a_key_takes_factories_of_its_kind_alone(key):
    _, module, _ = kind_here = KINDS[key]
    for kind, target in OF_A_KIND.items():
        own = target in [f"{module}.{name}" for name in kind_here.choices()]
        assert own == (kind.removeprefix("control_") == key.removeprefix("control_").rstrip("s"))
        if own:
            verify({key: {"_target_": target}}, key)
        else:
            for check in (verify, build):
                with pytest.raises(
                    FsbError, match=rf"^{key}\._target_: {target} is not {kind_here.what}"
                ):
                    check({key: {"_target_": target}}, key)
    verify({key: {"_target_": "toy.Box"}, "modules": ["toy"]}, key)


def test_a_key_of_no_kind_takes_factories_of_the_users_own_alone():
    with pytest.raises(
        FsbError, match=r"fsb\.estimators\.st is not allowed here; choose from your"
    ):
        verify({"other": [{"_target_": "fsb.estimators.st"}]}, "other")
    verify({"other": [{"_target_": "toy.Box"}], "modules": ["toy"]}, "other")


@pytest.mark.parametrize(
    ("key", "outer", "argument", "inner", "allowed"),
    [
        ("estimator", "fsb.estimators.average", "estimator", "fsb.estimators.arm", True),
        ("estimator", "fsb.estimators.average", "estimator", "fsb.networks.vae", False),
        ("estimator", "fsb.estimators.average", "estimator", "toy.Box", True),
        ("model", "fsb.networks.vae", "likelihood", "fsb.distributions.Normal", True),
        ("model", "fsb.networks.vae", "likelihood", "fsb.estimators.st", False),
        ("data", "fsb.data.mnist", "root", "fsb.data.digits", False),
        ("logger", "fsb.storage.loggers.no_logger", "config", "fsb.estimators.st", False),
        ("model", "toy.Box", "inside", "fsb.networks.vae", True),
        ("model", "toy.Box", "inside", "fsb.distributions.Normal", True),
        ("model", "toy.Box", "inside", "fsb.lab.problems.file", False),
        ("model", "toy.Box", "inside", "fsb.lab.problems.run", False),
        ("model", "toy.Box", "inside", "fsb.storage.loggers.wandb_logger", False),
    ],
)
def test_arguments_take_their_kind_too(key, outer, argument, inner, allowed):
    node = {"_target_": outer, argument: {"_target_": inner}}
    config = {key: node, "modules": ["toy"]}
    if allowed:
        verify(config, key)
    else:
        with pytest.raises(FsbError, match=rf"^{key}\.{argument}\._target_: {inner} is not"):
            build(config, key)


def test_estimators_in_groups_and_lists_are_checked():
    sites = {"z1": {"_target_": "fsb.estimators.st"}, "z2": {"_target_": "fsb.data.mnist"}}
    node = {"_target_": "fsb.estimators.per_site", "estimators": sites}
    with pytest.raises(FsbError, match=r"^estimators\[1\]\.estimators\.z2\._target_: fsb\.data"):
        verify({"estimators": ["st", node]}, "estimators")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "toy.os.system",
        "toy.run",
        "toy.os",
        "toy._private",
        "toy.constant",
        "toy.Box.__init__",
        "toy.__class__",
        "toybox.open",
        "fsb.estimators.st.__globals__",
        "fsb.estimators.foust.math.exp",
        "fsb.estimators.foust.jnp",
        "fsb.cli.program.os.system",
        "fsb.cli.program.program",
        "fsb.cli.factory.resolve",
        "fsb.cli.factory.build",
        "fsb.storage.atomic.write_text_atomic",
        "fsb.storage.metrics_file.MetricsFile",
        "fsb.storage.loggers.write_text_atomic",
        "fsb.objectives.math",
        "fsb.optimizers.optax",
        "fsb.train.main",
        "fsb..st",
        "fsb",
        "",
        3,
        None,
        ["fsb", "estimators"],
    ],
)
def test_targets_that_are_refused(target):
    with pytest.raises(FsbError):
        resolve(target, (*KINDS.values(), *OWN), ("toy",))


@pytest.mark.parametrize("target", ["toy._private", "toy.Box.__init__", "_toy.Box"])
def test_private_names_are_not_looked_up(target):
    with pytest.raises(FsbError, match="is not a public dotted name"):
        resolve(target, tuple(KINDS.values()), ("toy", "_toy"))


def test_modules_count_only_where_they_are_given():
    assert "toy.pair is not an estimator; choose" in error_of({"_target_": "toy.pair"}, modules=[])
    assert "no module toy.sub" in error_of({"_target_": "toy.sub.pair"})


def test_a_broken_module_shows_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "broken_toy.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        resolve("broken_toy.thing", (), ("broken_toy",))


@pytest.mark.parametrize(
    ("source", "says"),
    [(b"def f(:\n", "broken_toy.py, line 1: "), (b"x = '\xff'\n", "broken_toy.py")],
)
def test_a_module_that_is_not_python_is_one_line(source, says, tmp_path, monkeypatch):
    (tmp_path / "broken_toy.py").write_bytes(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FsbError) as caught:
        imported("broken_toy", "modules[0]")
    assert str(caught.value).startswith("modules[0]: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(FsbError, match=r"problem\.function: .*broken_toy\.py"):
        from_file(f"{tmp_path}/broken_toy.py:f", "problem.function")


@pytest.mark.slow
def test_every_shipped_configuration_names_a_factory():
    from fsb.cli.program import configs_dir

    checked = 0
    for path in configs_dir().glob("*/*.yaml"):
        node, key = OmegaConf.load(path), path.parent.name
        if "_target_" in node:
            given = [k for k in node if k != "defaults" and not OmegaConf.is_missing(node, k)]
            verify({key: OmegaConf.masked_copy(node, [str(name) for name in given])}, key)
            checked += 1
    assert checked > 15


def test_every_factory_that_may_be_named_is_there():
    for kind in (*KINDS.values(), *OWN):
        for name in kind.choices():
            assert resolve(f"{kind.module}.{name}", (kind,), ())[1] == INNER.get(kind.module, ())
