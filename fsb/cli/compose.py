"""Composes and runs configurations with Hydra, with its errors in one line.

The errors of Hydra 1.3 have several lines, name neither the nearest word nor the place of the
mistake, and cannot be changed through its public API. This is the only module that uses Hydra's
private names; tests/cli/test_hydra.py checks their signatures and the version.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import _run_hydra, create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from fsb.errors import FsbError, first_line, unknown

MAX_JOBS = 256  # checked before a sweep starts; further jobs are checked when they start
MOST_JOBS = 10_000  # of a sweep


def parse_arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    """Parses Hydra's flags and the overrides, in any order; returns the parser too, for its help.

    Raises:
      FsbError: if a flag is unknown, lacks its value, or does not go with another.
    """
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        _, found, rest = message.partition("unrecognized arguments: ")
        line = rest.split(" ")[0]
        word, equals, _ = line.partition("=")
        if equals:
            raise FsbError(f"{word}: settings take no dashes, as in {line.lstrip('-')}")
        flags = re.findall(r"--[a-z-]+", parser.format_usage())
        raise unknown("flags", word, flags) if found else FsbError(message)

    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(argv)
    if args.experimental_rerun is not None:
        raise FsbError("--experimental-rerun: loads a pickle, which can run code; not supported")
    modes = [args.run, args.multirun, args.cfg, args.info, args.shell_completion]
    if sum(map(bool, modes)) > 1:
        raise FsbError("only one of --run, --multirun, --cfg, --info, --shell-completion at a time")
    if args.package and not args.cfg:
        raise FsbError("--package: goes with --cfg")
    if args.resolve and not (args.cfg or args.help):
        raise FsbError("--resolve: goes with --cfg or --help")
    for flag, folder in (("--config-dir", args.config_dir), ("--config-path", args.config_path)):
        if folder is not None and not Path(folder).is_dir():
            raise FsbError(f"{flag}: {folder} is not a folder")
    return args, parser


def run(
    args: argparse.Namespace,
    parser: argparse.ArgumentParser,
    job: Callable[[DictConfig], Any],
    configs: Path,
    config_name: str,
) -> None:
    """Runs ``job`` once or in a sweep, or prints help; exceptions of the job are not caught."""
    if args.help:
        loader, name = _Loader(_search_path(configs, args)), args.config_name or config_name
        with _explained(loader, name):
            Hydra("fsb", loader).app_help(name, parser, args)
        raise SystemExit(0)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints them, and exits with 1
    _run_hydra(args, parser, job, str(configs), config_name)


class _Loader(ConfigLoaderImpl):
    """Lists a group without copying every configuration, which --help asks for a hundred times."""

    def get_group_options(self, group_name: str, *kind: Any, **named: Any) -> list[str]:
        return self.repository.get_group_options(group_name, *kind, **named)


def _search_path(configs: Path, args: argparse.Namespace) -> ConfigSearchPath:
    """Where configurations are looked for."""
    version.setbase("1.3")
    setup_globals()
    path = create_config_search_path(str(Path(args.config_path or configs).absolute()))
    if args.config_dir is not None:
        folder = f"file://{Path(args.config_dir).absolute()}"
        path.prepend("command-line", folder, SearchPathQuery(provider="schema"))
    return path


def compose(configs: Path, config_name: str, args: argparse.Namespace) -> Iterator[DictConfig]:
    """Composes the configuration of each job, at most ``MAX_JOBS``, including the node ``hydra``.

    Interpolations are not resolved yet. In a sweep, ``hydra.job.num`` is set.

    Raises:
      FsbError: if a configuration cannot be composed.
    """
    loader = ConfigLoaderImpl(_search_path(configs, args))
    name, line = args.config_name or config_name, args.overrides
    with _explained(loader, name):
        given = OverridesParser.create(loader).parse_overrides(line)
        options = functools.cache(lambda key: loader.get_group_options(key, None, name, line))
        _require_readable(given, options)
        # MULTIRUN takes several values of a key as well as one.
        master = loader.load_configuration(
            name, line, RunMode.MULTIRUN, validate_sweep_overrides=False
        )
    for key in ("launcher", "sweeper"):
        if "_target_" not in (master.hydra[key] or ()):
            raise FsbError(f"hydra.{key}: takes no value; choose one with hydra/{key}=NAME")
    if not args.multirun and master.hydra.mode != RunMode.MULTIRUN:
        several = [override.input_line for override in given if override.is_sweep_override()]
        if several:
            advice = "add --multirun to run each, or write [a,b] for a list"
            raise FsbError(f"{several[0]}: several values; {advice}")
        yield master
        return
    # Of sweepers other than the basic one, only the values on the command line are known by now.
    basic = str(master.hydra.sweeper._target_).endswith("BasicSweeper")
    params = (master.hydra.sweeper.params or {}) if basic else {}
    lines = [f"{key}={value}" for key, value in params.items()]
    with _explained(loader, name):
        swept = OverridesParser.create(loader).parse_overrides(lines)
    swept += [o for o in given if not o.is_hydra_override()]
    known = [o for o in swept if o.is_discrete_sweep() or not o.is_sweep_override()]
    if math.prod(len(_values(override)) for override in known) > MOST_JOBS:
        raise FsbError(f"--multirun: more than {MOST_JOBS} jobs")
    (jobs,) = BasicSweeper.split_arguments(known, max_batch_size=None)
    for number, overrides in enumerate(jobs[:MAX_JOBS]):
        with _explained(loader, name):
            config = loader.load_sweep_config(master, overrides)
        with open_dict(config):
            config.hydra.job.num = number
            config.hydra.job.id = str(number)
        yield config


def _require_readable(given: list[Override], options: Callable[[str], list[str]]) -> None:
    """Refuses what Hydra would refuse without naming it, or ignore; raises FsbError."""
    for override in given:
        key = override.key_or_group
        if not key:
            raise FsbError(f"cannot read {override.input_line!r}: write key=value")
        if override.is_delete():
            continue
        for value in _values(override):
            # Hydra ignores a choice that an optional group does not have.
            group, _, choice = f"{key}/{value}".rpartition("/")
            if isinstance(value, list) or "${" in choice or "." in group:
                continue  # a group has no dot, and asking for its options takes long
            if not (of := options(group)):
                continue
            if choice not in of:
                raise unknown(key, value, of)


def _values(override: Override) -> list[Any]:
    """The values that an override gives to its key in a sweep; raises FsbError if it has none."""
    value, line = override.value(), override.input_line
    if not override.is_discrete_sweep():
        return [] if override.is_sweep_override() else [value]
    if isinstance(value, RangeSweep):
        start, stop, step = value.start or 0, value.stop or 0, value.step
        if not step or abs(stop - start) > MOST_JOBS * abs(step):
            raise FsbError(f"{line}: the step must divide the range into at most {MOST_JOBS} jobs")
    values = list(itertools.islice(override.sweep_iterator(), MOST_JOBS + 1))
    if not values:
        raise FsbError(f"{line}: there is no such value")
    return values


@contextlib.contextmanager
def _explained(loader: ConfigLoaderImpl, name: str) -> Iterator[None]:
    """Turns errors of Hydra, OmegaConf and YAML into FsbError, with the nearest name."""
    try:
        yield
    except FsbError:  # a ValueError too
        raise
    except OverrideParseException as error:
        advice = "close brackets and quotes, and quote values with special characters"
        raise FsbError(f"cannot read {error.override!r}: write key=value, {advice}") from None
    except MissingConfigException as error:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        if not choice and not group:
            raise FsbError(cause(error)) from None
        if error.missing_cfg_file != name:
            raise unknown(group, choice, error.options or ()) from None
        primary = [key for key in loader.get_group_options("") if not key.startswith("_")]
        raise unknown("--config-name", name, primary) from None
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError) as error:
        # A group of another program.
        if other := re.match(r"Could not override '(\w+)'", str(error)):
            keys = loader.load_configuration(name, [], RunMode.RUN)
            known = {*map(str, keys), *_groups(loader, name)} - {"hydra"}
            raise unknown("settings", other[1], known) from None
        unset = error.__cause__
        if not isinstance(unset, ConfigAttributeError | ConfigKeyError):
            raise FsbError(cause(error)) from None
        node = str(unset.full_key).rpartition(".")[0]
        hidden = ("hydra", "_target_", unset.key)
        names = [str(key) for key in unset.parent_node or () if key not in hidden]
        if not unset.parent_node:
            raise FsbError(f"{unset.full_key}: {node} is a value, it has no keys") from None
        groups = [] if node else _groups(loader, name)
        raise unknown(node or "settings", unset.key, names + groups) from None


def _groups(loader: ConfigLoaderImpl, name: str) -> list[str]:
    """The groups that belong to a program; not every group does."""
    chosen = loader.compute_defaults_list(name, [], RunMode.RUN).overrides.known_choices
    return [key for key in chosen if "/" not in key]


def cause(error: BaseException) -> str:
    """The first line of an error of Hydra or YAML and of its cause, without their advice."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        where = f", line {mark.line + 1} of {mark.name}" if mark else ""
        return f"{error.problem or error.context}{where}"
    line = first_line(error)
    return f"{line} {cause(error.__cause__)}" if error.__cause__ else line
