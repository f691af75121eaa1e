"""The shape of the code: floors, length of files, documentation, configurations that build."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import statistics
from pathlib import Path

import pytest
import yaml

import fsb
import fsb.estimators
from fsb.cli.factory import build
from fsb.cli.program import configs_dir, preflight
from fsb.cli.schema import Train

ROOT = Path(fsb.__file__).parent
CONFIGS = configs_dir()

# An import goes to a higher row only; a folder is one room, and within it no import is circular.
FLOORS = (
    "errors",
    "types",
    "constraints runtime",
    "distributions sites",
    "estimators networks",
    "gradients objectives fourier optimizers bayesbinn",
    "diagnostics",
    "testing",
    "__init__ data storage",
    "cli",
    "training",
    "train evaluate prepare lab bench",
)
HELPERS = {"local"}  # in fsb.estimators.__all__, but not an estimator
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.rglob("*.py")
}


def imports(path):
    """Modules of fsb that a file names in imports, wherever they stand: "types", "data.find"."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            # `from fsb.data import find` may mean a module or a name in one.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, *parts = name.split(".")
            if first == "fsb":
                while parts and ".".join(parts) not in MODULES:
                    if ".".join([*parts, "__init__"]) in MODULES:
                        parts = [*parts, "__init__"]
                        break
                    parts = parts[:-1]
                found.add(".".join(parts) or "__init__")
    return found


def entry(module):
    return module.split(".")[0]


def test_every_module_has_a_floor():
    for module in MODULES:
        assert entry(module) in FLOOR_OF, (
            f"fsb/{module.replace('.', '/')}.py stands on no floor: add {entry(module)!r} to a row "
            "of FLOORS in tests/test_floors.py, below all that it imports"
        )
    gone = FLOOR_OF.keys() - {entry(module) for module in MODULES}
    assert not gone, f"take {sorted(gone)} out of FLOORS in tests/test_floors.py"


@pytest.mark.slow
def test_imports_go_down():
    upward = [
        f"fsb.{module} imports fsb.{other}"
        for module, path in MODULES.items()
        for other in imports(path)
        if entry(module) != entry(other) and FLOOR_OF[entry(other)] >= FLOOR_OF[entry(module)]
    ]
    assert not upward


@pytest.mark.slow
def test_no_import_is_circular_within_a_room():
    left = {module: imports(path) & MODULES.keys() for module, path in MODULES.items()}
    while ready := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in ready:
            del left[module]
    assert not left, f"circular imports among {sorted(left)}"


def test_files_are_short():
    lines = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert not {module: count for module, count in lines.items() if count > 250}
    assert statistics.median(lines.values()) <= 110


def test_the_top_level_is_small():
    entries = [path for path in ROOT.iterdir() if path.name not in ("__pycache__", "configs")]
    assert len([path for path in entries if path.is_file()]) <= 14
    assert len([path for path in entries if path.is_dir()]) <= 12


PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (fsb, fsb.fourier)
    for name in module.__all__
    if not inspect.ismodule(getattr(module, name))
}


def called(item):
    """What the example in a docstring calls."""
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(item) or "")
    calls = [n for e in examples for n in ast.walk(ast.parse(e.source)) if isinstance(n, ast.Call)]
    return {getattr(call.func, "attr", getattr(call.func, "id", None)) for call in calls}


def siblings(item):
    """The public names of the same module, itself included."""
    return [
        other for other in PUBLIC.values() if inspect.getmodule(other) is inspect.getmodule(item)
    ]


@pytest.mark.parametrize("path", sorted(PUBLIC))
def test_every_public_name_is_documented(path):
    item, name = PUBLIC[path], path.rpartition(".")[2]
    text = inspect.getdoc(item) or ""
    assert item.__doc__, f"{name} has no docstring"
    assert len(text.splitlines()[0]) > 10
    if name in HELPERS:
        return
    plain = getattr(item, "__module__", "") in ("fsb.types", "fsb.errors")
    if inspect.isclass(item) and (plain or issubclass(item, tuple)):
        assert issubclass(item, Exception) or ":" in text or "[B" in text, f"{name}: say the shapes"
    else:
        shown = set().union(*map(called, siblings(item)))
        assert name in shown, f"{name} has no example in its docstring or a sibling's"


ESTIMATORS = sorted(set(fsb.estimators.__all__) - HELPERS)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_is_documented(name):
    factory = getattr(fsb.estimators, name)
    text = inspect.getdoc(factory)
    assert "Source:" in text or name == "exact", f"{name}: name the paper"
    assert ".. math::" in text, f"{name}: give the equation"
    if inspect.signature(factory).parameters:
        assert "Args:" in text
        for argument in inspect.signature(factory).parameters:
            assert argument in text, f"{name}: say what {argument} is"


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_has_its_configuration(name):
    node = yaml.safe_load((CONFIGS / "estimator" / f"{name}.yaml").read_text())
    assert node.pop("_target_") == f"fsb.estimators.{name}"
    parameters = inspect.signature(getattr(fsb.estimators, name)).parameters
    assert node.keys() == parameters.keys()
    for key, parameter in parameters.items():
        if parameter.default is not parameter.empty:
            assert node[key] == parameter.default, f"configs/estimator/{name}.yaml: {key}"


PARTS = ("model", "estimator", "objective", "optimizer", "control_optimizer")


def options(group):
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def test_no_configuration_is_left_out():
    groups = {*PARTS, "data", "logger", "problem"}
    folders = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
    assert folders == groups | {"experiment", "sweep", "suited", "suite"}
    for name in options("estimator"):
        assert base(name) in fsb.estimators.__all__, name


def base(name):
    """The estimator that a configuration is of; one may change another, which changes another."""
    node = yaml.safe_load((CONFIGS / "estimator" / f"{name}.yaml").read_text())
    return base(node["defaults"][0]) if "defaults" in node else name


@pytest.mark.slow
@pytest.mark.parametrize(("group", "name"), [(g, n) for g in PARTS for n in options(g)])
def test_every_part_builds(group, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (config,) = preflight("train", [f"{group}={name}"], Train)
    given = {"model": ((4, 4), None)}.get(group, ())
    assert build(config, group, *given) is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", options("data") + options("logger"))
def test_every_source_and_logger_composes(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    group = "data" if name in options("data") else "logger"
    (config,) = preflight("train", [f"{group}={name}"], Train)
    target = config[group]["_target_"]
    module, _, factory = target.rpartition(".")
    assert callable(getattr(importlib.import_module(module), factory))
