"""Composing configurations as Hydra would, with its errors put into one line.

Hydra 1.3 names neither the nearest word nor the place of a mistake, and prints several lines. Its
internals are used here alone; the version is pinned below 1.4.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from fsb.errors import FsbError, first_line, unknown

MAX_JOBS = 256  # composed of a sweep before it starts; any others are checked as they start


def parse_arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    """Hydra's flags and the overrides, in any order, with the parser, which its help needs.

    Raises:
      FsbError: a flag is unknown, lacks its value, or does not go with another.
    """
    parser = get_args_parser()
    every = [flag for action in parser._actions for flag in action.option_strings]
    flags = [flag for flag in every if flag.startswith("--")]

    def refuse(message: str) -> NoReturn:
        _, found, rest = message.partition("unrecognized arguments: ")
        word = rest.split("=")[0].split(" ")[0]
        if found and "=" in rest:
            raise FsbError(
                f"{word}: settings take no dashes, as in {rest.split(' ')[0].lstrip('-')}"
            )
        raise unknown("flags", word, flags) if found else FsbError(message)

    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(argv)
    if args.experimental_rerun is not None:
        raise FsbError("--experimental-rerun: loads a pickle, which can run code; not supported")
    modes = [args.run, args.multirun, args.cfg, args.info, args.shell_completion]
    if sum(map(bool, modes)) > 1:
        raise FsbError("only one of --run, --multirun, --cfg, --info, --shell-completion at a time")
    if args.resolve and not (args.cfg or args.help):
        raise FsbError("--resolve: goes with --cfg or --help")
    for flag, folder in (("--config-dir", args.config_dir), ("--config-path", args.config_path)):
        if folder is not None and not Path(folder).is_dir():
            raise FsbError(f"{flag}: {folder} is not a folder")
    return args, parser


def compose(configs: Path, config_name: str, args: argparse.Namespace) -> Iterator[DictConfig]:
    """The whole configuration, the node ``hydra`` with it, of each job, before it is resolved.

    Args:
      configs: the folder of the primary configuration and its groups.
      config_name: the primary configuration.
      args: what ``parse_arguments`` gave; its --config-name, --config-path and --config-dir count.

    Yields:
      One configuration, or in a sweep one a job, ``MAX_JOBS`` at most, with ``hydra.job.num``.

    Raises:
      FsbError: the configuration cannot be composed.
    """
    version.setbase("1.3")
    setup_globals()
    path = create_config_search_path(str(Path(args.config_path or configs).absolute()))
    if args.config_dir is not None:
        folder = f"file://{Path(args.config_dir).absolute()}"
        path.prepend("command-line", folder, SearchPathQuery(provider="schema"))
    loader, name = ConfigLoaderImpl(path), args.config_name or config_name
    with _explained(loader, name, args.overrides, args.multirun):
        parsed = OverridesParser.create(loader).parse_overrides(args.overrides)
        master = loader.load_configuration(
            name, args.overrides, RunMode.MULTIRUN, validate_sweep_overrides=False
        )
        sweep = args.multirun or master.hydra.mode == RunMode.MULTIRUN
        if not sweep:
            loader.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=True)
    if not sweep:
        yield master
        return
    for number, overrides in enumerate(_jobs(loader, master, parsed)):
        with _explained(loader, name, overrides):
            config = loader.load_sweep_config(master, overrides)
        with open_dict(config):
            config.hydra.job.num = number
            config.hydra.job.id = str(number)
        yield config


def _jobs(
    loader: ConfigLoaderImpl, master: DictConfig, given: list[Override]
) -> Iterator[list[str]]:
    """The overrides of each job: every combination, as Hydra's basic sweeper makes them.

    Of other sweepers only the values listed on the command line are known beforehand.
    """
    params: Mapping[str, str] = {}
    if str(master.hydra.sweeper._target_).endswith("BasicSweeper"):
        params = master.hydra.sweeper.params or {}
    lines = [f"{key}={value}" for key, value in params.items()]
    with _explained(loader, master.hydra.job.config_name, lines, sweep=True):
        swept = OverridesParser.create(loader).parse_overrides(lines)
    choices: dict[str, list[str]] = {}
    for override in [*swept, *(o for o in given if not o.is_hydra_override())]:
        key = override.get_key_element()
        if override.is_discrete_sweep():
            values = itertools.islice(override.sweep_string_iterator(), MAX_JOBS)
            choices[key] = [f"{key}={value}" for value in values]
        elif not override.is_sweep_override():
            choices[key] = [f"{key}={override.get_value_element_as_str()}"]
    for job in itertools.islice(itertools.product(*choices.values()), MAX_JOBS):
        yield list(job)


@contextlib.contextmanager
def _explained(
    loader: ConfigLoaderImpl, name: str, overrides: Sequence[str], sweep: bool = False
) -> Iterator[None]:
    try:
        yield
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError) as error:
        if isinstance(error, FsbError):
            raise
        raise _explain(error, loader, name, list(overrides), sweep) from None


def _explain(
    error: Exception, loader: ConfigLoaderImpl, name: str, overrides: list[str], sweep: bool
) -> FsbError:
    """What was wrong, in one line."""
    if isinstance(error, OverrideParseException):
        return FsbError(
            f"cannot read {error.override!r}: write key=value, close brackets and quotes, "
            "and quote values with special characters"
        )
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        if error.missing_cfg_file == name:
            primary = [key for key in loader.get_group_options("") if not key.startswith("_")]
            return unknown("--config-name", name, primary)
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return unknown(group, choice, error.options or ())
    try:
        return _blame(loader, name, overrides, sweep) or FsbError(cause(error))
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError):
        return FsbError(cause(error))


def _blame(
    loader: ConfigLoaderImpl, name: str, overrides: list[str], sweep: bool
) -> FsbError | None:
    """The error of the first override at fault, found by composing without those that set keys."""
    parsed = OverridesParser.create(loader).parse_overrides(overrides)
    groups: list[Override] = []
    for override in parsed:
        if not override.key_or_group:
            return FsbError(f"cannot read {override.input_line!r}: write key=value")
        options = loader.get_group_options(override.key_or_group, None, name, overrides)
        if override.is_sweep_override() and not sweep:
            return FsbError(
                f"{override.input_line}: several values; add --multirun to run each, "
                "or write [a,b] for a list"
            )
        single = not override.is_sweep_override() and not override.is_delete()
        if options and single and not isinstance(override.value(), str | list):
            return unknown(override.key_or_group, override.value(), options)
        groups += [override] * bool(options)
    base = loader.load_configuration(
        name,
        [str(o.input_line) for o in groups],
        RunMode.MULTIRUN,
        validate_sweep_overrides=False,
    )
    extra = [group for group in loader.list_groups("") if group != "hydra"]
    for override in parsed:
        if override in groups or override.is_add() or override.is_force_add():
            continue
        node: Any = base
        done = ""
        for part in override.key_or_group.split("."):
            if not isinstance(node, DictConfig):
                return FsbError(f"{override.key_or_group}: {done} is a value, it has no keys")
            if part not in node:
                here = [str(key) for key in node if key not in ("hydra", "_target_")]
                return unknown(done or "settings", part, here if done else here + extra)
            node, done = node._get_node(part), f"{done}.{part}" if done else part
    return None


def cause(error: BaseException) -> str:
    """The first line of an error of Hydra's or YAML's, and of its cause, without their advice."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        where = f", line {mark.line + 1} of {mark.name}" if mark else ""
        return f"{error.problem or error.context}{where}"
    line = first_line(error)
    return f"{line} {cause(error.__cause__)}" if error.__cause__ else line
