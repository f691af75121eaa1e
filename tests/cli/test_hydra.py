"""Hydra as pyproject.toml pins it: all that fsb uses and Hydra does not document is there."""

import ast
import inspect
import tomllib
from pathlib import Path

import hydra
import pytest
from hydra._internal import utils
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.core.utils import setup_globals
from packaging.requirements import Requirement

import fsb
from fsb.cli import compose

ROOT = Path(fsb.__file__).parent


def test_the_installed_version_is_in_the_pinned_range():
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    pins = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    assert hydra.__version__ in pins["hydra-core"]
    assert "1.4.0" not in pins["hydra-core"]


SIGNATURES = [
    (ConfigLoaderImpl, "config_search_path"),
    (
        ConfigLoaderImpl.load_configuration,
        "self config_name overrides run_mode from_shell validate_sweep_overrides",
    ),
    (ConfigLoaderImpl.load_sweep_config, "self master_config sweep_overrides"),
    (
        ConfigLoaderImpl.get_group_options,
        "self group_name results_filter config_name overrides",
    ),
    (ConfigRepository.get_group_options, "self group_name results_filter"),
    (ConfigLoaderImpl.compute_defaults_list, "self config_name overrides run_mode"),
    (BasicSweeper.split_arguments, "overrides max_batch_size"),
    (utils.create_config_search_path, "search_path_dir"),
    (utils.get_args_parser, ""),
    (
        utils._run_hydra,
        "args args_parser task_function config_path config_name caller_stack_depth",
    ),
    (Hydra, "task_name config_loader"),
    (Hydra.app_help, "self config_name args_parser args"),
    (ConfigSearchPath.prepend, "self provider path anchor"),
    (SearchPathQuery, "provider path"),
    (OverridesParser.create, "config_loader"),
    (OverridesParser.parse_overrides, "self overrides"),
    (Override.is_sweep_override, "self"),
    (Override.is_discrete_sweep, "self"),
    (Override.is_hydra_override, "self"),
    (Override.is_delete, "self"),
    (Override.value, "self"),
    (Override.sweep_iterator, "self transformer"),
    (RangeSweep, "tags start stop step shuffle"),
    (setup_globals, ""),
]


@pytest.mark.parametrize(("function", "names"), SIGNATURES)
def test_signatures(function, names):
    assert list(inspect.signature(function).parameters) == names.split()


def test_the_basic_sweeper_without_batches_makes_one():
    overrides = OverridesParser.create().parse_overrides(["a=1,2", "b=3"])
    assert BasicSweeper.split_arguments(overrides, None) == [[["a=1", "b=3"], ["a=2", "b=3"]]]


DOCUMENTED = ("hydra.core.hydra_config", "hydra.errors", "hydra.types")


@pytest.mark.slow
def test_only_one_module_imports_what_is_not_documented():
    for path in ROOT.rglob("*.py"):
        if path == Path(compose.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hydra":
                assert node.module in DOCUMENTED, f"{path}: {node.module}"
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
                assert not any(name.split(".")[0] == "hydra" for name in names), path
            if isinstance(node, ast.Attribute):  # such as OmegaConf's DictConfig._get_node
                assert node.attr not in ("_get_node", "_get_full_key", "_actions"), path


def test_every_private_import_has_its_signature_checked():
    checked = {function.__qualname__.split(".")[0] for function, _ in SIGNATURES}
    for node in ast.walk(ast.parse(Path(compose.__file__).read_text())):
        module = getattr(node, "module", None) or ""
        if isinstance(node, ast.ImportFrom) and module.startswith(("hydra._", "hydra.core")):
            assert {alias.name for alias in node.names} <= checked | {"OverridesParser", "Override"}
