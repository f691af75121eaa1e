"""Command lines: Hydra's whole power, with every mistake told in one line before a folder is made.

A mistake prints ``fsb: error: ...`` on stderr and exits with code 2. Ctrl-C exits with 130. A bug
shows its traceback and exits with 1.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.utils import _run_hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fsb.cli.compose import cause, compose, parse_arguments
from fsb.cli.factory import checked
from fsb.errors import FsbError

Check = Callable[[DictConfig], None]

# ``${first:${resume},runs/...}``: the first value that is not null, for folders with a default.
OmegaConf.register_new_resolver(
    "first", lambda *values: next((v for v in values if v is not None), None), replace=True
)


def configs_dir() -> Path:
    """The folder of the configurations: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent.parent
    return next(p for p in (package / "configs", package.parent / "configs") if p.is_dir())


def program(config_name: str, schema: Any, check: Check | None = None) -> Callable:
    """Turn ``main(cfg)`` into a command line.

    Flags and overrides are Hydra's, in any order. Before Hydra runs, and so before a folder is
    made, the configuration of every job is composed and checked (``preflight``). ``main`` gets it
    checked, converted and resolved. ``FsbError``, there or in ``main``, is printed in one line; in
    a sweep the other jobs go on. Either way the exit code is 2.

    Args:
      config_name: the primary configuration in ``configs_dir()``, without ".yaml".
      schema: a dataclass of its keys, as in ``fsb.cli.schema``.
      check: looks deeper than types, at what a single key cannot tell (a missing data root, an
        impossible combination); raises ``FsbError``. Called once for every job, so be quick.

    Returns:
      A decorator; what it returns takes the arguments, ``sys.argv[1:]`` if None.
    """

    def decorate(main: Callable[[DictConfig], Any]) -> Callable[..., None]:
        @functools.wraps(main)
        def job(config: DictConfig) -> Any:
            hydra = HydraConfig.get()
            sweep = hydra.mode == RunMode.MULTIRUN
            if sweep:
                print(f"job {hydra.job.num}: {' '.join(hydra.overrides.task)}")
            try:
                return main(checked(config, schema), None)
            except FsbError as error:
                _tell(str(error))
                if sweep:
                    raise  # the launcher notes it and goes on with the next job
                raise SystemExit(2) from None

        @functools.wraps(main)
        def command(argv: Sequence[str] | None = None) -> None:
            argv = sys.argv[1:] if argv is None else argv
            try:
                args, parser = parse_arguments(argv)
                if not (args.help or args.hydra_help or args.info or args.shell_completion):
                    preflight(config_name, argv, schema, None if args.cfg else check)
            except FsbError as error:
                _tell(str(error))
                raise SystemExit(2) from None
            # Otherwise Hydra prints the errors of jobs itself, and exits with 1 for all of them.
            os.environ["HYDRA_FULL_ERROR"] = "1"
            try:
                _run_hydra(
                    args=args,
                    args_parser=parser,
                    task_function=job,
                    config_path=str(configs_dir()),
                    config_name=config_name,
                )
            except FsbError:  # of a job in a sweep, printed by the job
                raise SystemExit(2) from None
            except HydraException as error:
                _tell(cause(error))
                raise SystemExit(2) from None
            except KeyboardInterrupt:
                raise SystemExit(130) from None

        return command

    return decorate


def _tell(message: str) -> None:
    print(f"fsb: error: {message}", file=sys.stderr)


def preflight(
    config_name: str, argv: Sequence[str], schema: Any, check: Check | None = None
) -> list[DictConfig]:
    """The configurations of the jobs a command line asks for, checked; nothing is written.

    Args:
      config_name, schema, check: as in ``program``.
      argv: flags and overrides.

    Returns:
      One configuration for a run; for a sweep one a job, at most ``compose.MAX_JOBS``.

    Raises:
      FsbError: on the first mistake found.
    """
    args, _ = parse_arguments(argv)
    jobs = []
    for composed in compose(configs_dir(), config_name, args):
        HydraConfig.instance().set_config(composed)  # interpolations may ask for ${hydra:...}
        try:
            config = checked(composed, schema)
            _check_folder(composed, sweep=not OmegaConf.is_missing(composed.hydra.job, "num"))
            if check is not None:
                check(config)
        finally:
            HydraConfig.instance().cfg = None
        jobs.append(config)
    return jobs


def _check_folder(composed: DictConfig, sweep: bool) -> None:
    """Whether the folder of a job can be made, tried in the nearest folder that is there."""
    try:
        folder = Path(composed.hydra.run.dir)
        if sweep:
            folder = Path(composed.hydra.sweep.dir, composed.hydra.sweep.subdir)
        there = folder.absolute()
        while not there.exists():
            there = there.parent
        tempfile.TemporaryDirectory(dir=there).cleanup()
    except OmegaConfBaseException as error:
        raise FsbError(f"{error.full_key}: {cause(error)}") from None
    except OSError as error:
        raise FsbError(f"cannot make the folder {folder}: {error.strerror}") from None
