"""Command lines: all features of Hydra, and every mistake in one line before a folder is made.

A mistake prints ``fsb: error: ...`` on stderr and exits with code 2. Ctrl-C exits with 130. A bug
shows its traceback and exits with 1.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fsb.cli.compose import cause, compose, parse_arguments, run
from fsb.cli.factory import checked
from fsb.errors import FsbError
from fsb.runtime.interrupts import keyboard, raise_lost
from fsb.runtime.memory import out_of_memory
from fsb.runtime.processes import await_reason
from fsb.runtime.startup import imported
from fsb.storage.quiet import quiet_orbax

Check = Callable[[DictConfig], Any] | None

# ``${first:${resume},runs/...}``: the first value that is not null, for folders with a default.
OmegaConf.register_new_resolver(
    "first", lambda *values: next((v for v in values if v is not None), None), replace=True
)
# ``${minus:${model.high}}``: the other of two opposite values.
OmegaConf.register_new_resolver("minus", lambda value: -value, replace=True)
# ``${short:...}``: the name of a folder, which may have 255 bytes.
OmegaConf.register_new_resolver(
    "short", lambda name: str(name).encode()[:200].decode(errors="ignore"), replace=True
)

# The first job and the result of its check, until a job starts. It is global, so that launchers
# that start other processes do not pickle it.
_found: list[tuple[DictConfig, Any]] = []


def configs_dir() -> Path:
    """The folder of the configurations: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent.parent
    return next(p for p in (package / "configs", package.parent / "configs") if p.is_dir())


def program(config_name: str, schema: Any, check: Check = None) -> Callable:
    """Turns ``main(config, checked)`` into a command line.

    Flags and overrides are those of Hydra, in any order. Before Hydra runs, and so before a folder
    is made, the configuration of every job is composed and checked. An ``FsbError``, here or in
    ``main``, is printed in one line and sets the exit code; in a sweep the other jobs go on.

    Args:
      config_name: the primary configuration in ``configs_dir()``, without ".yaml".
      schema: a dataclass of its keys, as in ``fsb.cli.schema``.
      check: raises ``FsbError`` for mistakes that no single key shows, such as missing data. It is
        called for the first job only, and its result is passed to ``main``, so that nothing is
        built twice; for other jobs ``checked`` is None.

    Returns:
      A decorator. The decorated function takes the arguments, by default ``sys.argv[1:]``.
    """

    def decorate(main: Callable) -> Callable[..., None]:
        @functools.wraps(main)
        def job(config: DictConfig) -> Any:
            raise_lost()
            hydra = HydraConfig.get()
            sweep = hydra.mode == RunMode.MULTIRUN
            if sweep:
                gc.collect()  # of the job before: a figure is a circle of references
                if hydra.job.num == 1:
                    gc.freeze()  # what the first job left, its programs above all, is kept
                print(f"job {hydra.job.num}: {' '.join(hydra.overrides.task)}")
            try:
                config = checked(_resolved(config), schema)
                with out_of_memory():
                    return main(config, _take(config))
            except FsbError as error:
                _tell(error)
                # In a sweep the launcher notes it and goes on with the next job.
                told = _Told if sweep else SystemExit
                raise told(error.exit_code) from None
            except KeyboardInterrupt:
                with contextlib.suppress(OSError):
                    Path(hydra.runtime.output_dir).rmdir()  # if it holds nothing yet
                raise
            except Exception:  # of a collective, say; Hydra would print a line of its own
                await_reason()
                raise

        @functools.wraps(main)
        def command(argv: Sequence[str] | None = None) -> None:
            imported()
            quiet_orbax()  # until the end of the program: it may report after ``keyboard``
            argv = sys.argv[1:] if argv is None else argv
            try:
                with keyboard():
                    args, parser = parse_arguments(argv)
                    if not (args.help or args.hydra_help or args.info or args.shell_completion):
                        preflight(config_name, argv, schema, None if args.cfg else check)
                    run(args, parser, job, configs_dir(), config_name)
            except FsbError as error:
                _tell(error)
                raise SystemExit(error.exit_code) from None
            except HydraException as error:
                _tell(cause(error))
                raise SystemExit(2) from None
            except KeyboardInterrupt:
                print("fsb: interrupted", file=sys.stderr)
                raise SystemExit(130) from None
            finally:
                _found.clear()

        return command

    return decorate


class _Told(FsbError):
    """The error of a job in a sweep, after it was printed."""

    def __init__(self, exit_code: int):
        self.exit_code = exit_code


def _tell(message: object) -> None:
    if not isinstance(message, _Told):
        print(f"fsb: error: {message}", file=sys.stderr)


def _take(config: DictConfig) -> Any:
    """The result of the first check, once; None if this is another configuration."""
    first, found = _found.pop() if _found else (None, None)
    return found if first == config else None


def _resolved(config: DictConfig) -> dict:
    keys = [str(key) for key in config if key != "hydra"]
    try:
        values = OmegaConf.to_container(OmegaConf.masked_copy(config, keys), resolve=True)
    except OmegaConfBaseException as error:
        raise FsbError(f"{error.full_key}: {cause(error)}") from None
    return cast(dict, values)


def preflight(
    config_name: str,
    argv: Sequence[str],
    schema: Any,
    check: Check = None,
) -> list[DictConfig]:
    """The checked configurations of the jobs, at most ``MAX_JOBS``; nothing is written.

    ``check`` is called for the first one.

    Raises:
      FsbError: on the first mistake.
    """
    args, _ = parse_arguments(argv)
    jobs = []
    for composed in compose(configs_dir(), config_name, args):
        HydraConfig.instance().set_config(composed)  # interpolations may ask for ${hydra:...}
        try:
            jobs.append(checked(_resolved(composed), schema))
            _check_folder(composed, sweep=not OmegaConf.is_missing(composed.hydra.job, "num"))
            if check is not None and len(jobs) == 1:
                _found[:] = [(jobs[0], check(jobs[0]))]
        finally:
            HydraConfig.instance().cfg = None
    return jobs


def _check_folder(composed: DictConfig, sweep: bool) -> None:
    """Tries in the nearest existing folder whether the folder of a job can be made."""
    try:
        folder = Path(composed.hydra.run.dir)
        if sweep:
            folder = Path(composed.hydra.sweep.dir, composed.hydra.sweep.subdir)
        there = folder.absolute()
        while not there.exists():
            if there.is_symlink():
                raise FsbError(f"cannot make the folder {folder}: {there} is a broken link")
            there = there.parent
        for name in (str(folder), *folder.absolute().parts[len(there.parts) :]):
            with contextlib.suppress(FileNotFoundError):
                os.lstat(there / name)  # shows a name that is too long
        tempfile.TemporaryDirectory(dir=there).cleanup()
    except OmegaConfBaseException as error:
        raise FsbError(f"{error.full_key}: {cause(error)}") from None
    except OSError as error:
        raise FsbError(f"cannot make the folder {folder}: {error.strerror}") from None
