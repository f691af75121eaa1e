"""Building from configurations, and what a configuration may not do."""

import sys
from types import ModuleType

import pytest
from omegaconf import OmegaConf

from fsb.cli.factory import FACTORIES, build, resolve, verify
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
    raise FsbError("part.level must be odd")

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
    return build(node, *args, modules=["toy"], **kwargs)


def error_of(node, *args, modules=("toy",), **kwargs):
    with pytest.raises(FsbError) as caught:
        build(node, *args, modules=modules, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nested_nodes_are_built_first(toy):
    node = {"_target_": "toy.pair", "first": {"_target_": "toy.Box", "size": 2.0}, "scale": 3}
    first, _, scale = make(node)
    assert (first.size, scale, type(scale)) == (2, 3.0, float)
    box = {"_target_": "toy.Box"}
    boxes, extra = make({"_target_": "toy.several", "boxes": [box, box], "extra": {"a": [box]}})
    assert [type(b) for b in (*boxes, *extra["a"])] == [toy.Box] * 3
    assert make({"plain": [1, {"a": 2}]}) == {"plain": [1, {"a": 2}]}


def test_arguments_of_the_program(toy):
    given = toy.Box()
    assert make({"_target_": "toy.pair", "scale": 2}, given)[0] is given
    assert make({"_target_": "toy.pair"}, given, scale=5.0)[2] == 5.0
    message = error_of({"_target_": "toy.pair", "first": {"_target_": "toy.Box"}}, given)
    assert message == "first: is given by the program, not by the configuration"
    assert "given by the program" in error_of({"_target_": "toy.pair", "scale": 1}, given, scale=2)


def test_open_ended_factories_take_any_key():
    assert make({"_target_": "toy.open_ended", "a": 1, "b": "x"}) == (1, {"b": "x"})
    assert "a: x is not a whole number" in error_of({"_target_": "toy.open_ended", "a": "x"})
    assert make({"_target_": "toy.unevaluated", "level": "x"}) == "x"


def test_wrong_arguments_are_named_in_full():
    config = OmegaConf.create({"part": {"_target_": "toy.pair", "first": {"_target_": "toy.Box"}}})
    for key, value, says in [
        (
            "part.scael",
            1,
            "part: unknown 'scael'; did you mean scale? (choices: first, scale, second)",
        ),
        ("part.scale", "x", "part.scale: x is not a number (float)"),
        ("part.first.size", "x", "part.first.size: x is not a whole number (int)"),
        ("part.first", 3, "part.first: 3 is not Box, made by a _target_"),
        ("part._partial_", True, "part._partial_: only _target_ and arguments may stand here"),
        ("part._args_", [1], "part._args_: only _target_ and arguments may stand here"),
        ("part._target_", "toy.pear", "part._target_: unknown 'toy.pear'; did you mean toy.pair?"),
    ]:
        changed = OmegaConf.merge(config, OmegaConf.create())
        OmegaConf.update(changed, key, value, merge=False, force_add=True)
        assert error_of(changed.part).startswith(says)
        with pytest.raises(FsbError) as caught:
            verify(changed.part, ["toy"])
        assert str(caught.value).startswith(says)


def test_missing_arguments_and_refusals_name_the_node():
    config = OmegaConf.create({"part": {"_target_": "toy.picky"}})
    assert error_of(config.part) == "part: missing a required argument: 'level' of toy.picky"
    verify(config.part, ["toy"])  # the program may give it
    config.part.level = 2
    assert error_of(config.part) == "part: level must be odd"
    config.part._target_ = "toy.named"
    assert error_of(config.part) == "part.level must be odd"


def test_verify_calls_nothing(toy):
    toy.Box.__init__ = lambda self, size=1: pytest.fail("it was built")
    verify({"_target_": "toy.pair", "first": {"_target_": "toy.Box"}}, ["toy"])


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
        resolve(target, ["toy"])


def test_modules_count_only_where_they_are_given():
    assert "toy.pair is not allowed" in error_of({"_target_": "toy.pair"}, modules=[])
    assert "no module toy.sub" in error_of({"_target_": "toy.sub.pair"})


def test_a_broken_module_shows_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "broken_toy.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        resolve("broken_toy.thing", ["broken_toy"])


def test_every_shipped_configuration_names_a_factory():
    from fsb.cli.program import configs_dir

    checked = 0
    for path in configs_dir().glob("*/*.yaml"):
        node = OmegaConf.load(path)
        if "_target_" in node:
            given = [k for k in node if k != "defaults" and not OmegaConf.is_missing(node, k)]
            verify(OmegaConf.masked_copy(node, [str(key) for key in given]))
            checked += 1
    assert checked > 15
    assert len(set(FACTORIES)) == len(FACTORIES)
