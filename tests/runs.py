"""Tiny training runs, for the tests of the programs."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import fsb.train
from fsb.cli.program import preflight
from fsb.cli.schema import Train
from fsb.runtime.xla import compilation_cache
from fsb.storage.loggers import no_logger
from fsb.storage.metrics_file import MetricsFile
from fsb.training.setup import assemble

TINY = (
    "model.width=8",
    "model.layers=2",
    "model.hidden=1",
    "batch_size=16",
    "max_steps=20",
    "eval_every=10",
    "checkpoint_every=10",
    "eval_examples=64",
    "gradient_draws=10",
    "steps_per_call=100",
    "bound_samples=[2]",
    "devices=1",  # the eight of these tests share two cores
)
CLOCKS = ("steps_per_second", "wall_seconds", "data_wait")


def main(folder, *overrides):
    """A run as the command line starts it, in this process; returns its folder."""
    fsb.train.main([*TINY, f"hydra.run.dir={folder}", *overrides])
    return Path(folder)


@functools.cache
def assembled(*overrides):
    """The parts and the configuration of a tiny run; compiled functions are shared by its users."""
    (config,) = preflight("train", [*TINY, *overrides], Train)
    compilation_cache(config.compilation_cache)
    return assemble(config), config


def train(folder, *overrides, log=None, **changes):
    """The training of ``assembled(*overrides)`` in ``folder``, with other values of some keys."""
    parts, config = assembled(*overrides)
    config = config.copy()
    for name, value in changes.items():
        config[name] = value
    Path(folder).mkdir(exist_ok=True)
    fsb.train.train(parts, config, Path(folder), log or no_logger())
    return Path(folder)


@functools.cache
def finished():
    """A finished run of the whole program; to be read only. It lives until the tests end."""
    home = tempfile.TemporaryDirectory(prefix="fsb-run-")
    finished.home = home
    parts, _ = assembled()
    with pytest.MonkeyPatch.context() as patch:  # what it compiles is what ``train`` runs later
        patch.setattr(fsb.train, "assemble", lambda config: parts)
        return main(Path(home.name) / "run")


def state(folder, step=None):
    """(step, SHA-256 of the whole state) of the newest checkpoint, or of that of a step."""
    steps = [int(p.name) for p in (Path(folder) / "checkpoints").iterdir() if p.name.isdecimal()]
    step = max(steps) if step is None else step
    record = json.loads((Path(folder) / f"checkpoints/{step}/meta/metadata").read_text())
    return step, record["sha256"]


def rows(folder):
    """The rows of metrics.csv without what depends on the clock."""
    found = MetricsFile(Path(folder) / "metrics.csv").read()
    return [{k: v for k, v in row.items() if k not in CLOCKS} for row in found]


class Interrupting:
    """A logger that sends this process a signal at a step."""

    pictures = False

    def __init__(self, step, number=signal.SIGTERM):
        self.step, self.number = step, number

    def log(self, step, metrics, images=None):
        if step == self.step:
            os.kill(os.getpid(), self.number)

    def finish(self):
        pass


def one_device():
    """The flags of these tests without the eight devices."""
    return " ".join(f for f in os.environ["XLA_FLAGS"].split() if "device_count" not in f)


def start(*arguments, module="fsb.train", cwd=None, **environment):
    """The program in a process of its own, on one device."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "XLA_FLAGS": one_device(), **environment},
    )


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def pair(*arguments, of_each=("", ""), cwd=None):
    """The two processes of one run, each with one device and perhaps an argument of its own."""
    at = [f"distributed.coordinator=127.0.0.1:{free_port()}", "distributed.num_processes=2"]
    given = [*arguments, "devices=null", *at]
    return [
        start(*given, f"distributed.process_id={number}", *own.split(), cwd=cwd)
        for number, own in enumerate(of_each)
    ]


def tasks(count, cluster, *arguments, devices=1, cwd=None):
    """The processes of one run, as a launcher starts them: here on one host, each with devices."""
    port, flags = str(free_port()), "--xla_force_host_platform_device_count"
    given = [*arguments, "devices=null", f"distributed.cluster={cluster}"]
    return [
        start(
            *given,
            cwd=cwd,
            XLA_FLAGS=f"{one_device()} {flags}={devices}",
            JAX_COORDINATOR_PORT=port,
            **variables(cluster, count, number),
        )
        for number in range(count)
    ]


def variables(cluster, count, number):
    """What the launcher puts into the environment of a process: srun, or mpirun of Open MPI 4."""
    if cluster == "slurm":
        names = ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
        more = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "localhost"}
    else:
        names = tuple(f"OMPI_COMM_WORLD_{name}" for name in ("SIZE", "RANK", "LOCAL_RANK"))
        more = {"OMPI_MCA_orte_hnp_uri": "8192.0;tcp://127.0.0.1:34911"}
    return dict(zip(names, map(str, (count, number, number)), strict=True)) | more
