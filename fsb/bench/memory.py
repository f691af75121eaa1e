"""suite=memory: resident memory of runs and of compiled steps, in MB of 2^20 bytes."""

from __future__ import annotations

import itertools
import re
import subprocess
import tempfile
import time
from pathlib import Path

from omegaconf import DictConfig

from fsb.bench.nets import compiled_step, require_nets
from fsb.bench.processes import TRAIN, failed, watch
from fsb.bench.tables import Row, Tables

MB = 2**20


def memory(config: DictConfig) -> Tables:
    """The peak of a run; memory at the start of every job of a sweep; bytes of a step."""
    require_nets(config.nets)
    with tempfile.TemporaryDirectory() as home:
        run = watch(*TRAIN, *config.overrides, f"hydra.run.dir={home}/run")
        by_job = jobs(Path(home), list(config.overrides), config.jobs)
    resident = [row["mb_at_start"] for row in by_job]
    return {
        "processes": [
            {"what": "a run", "seconds": run.seconds, "mb": run.peak / MB},
            {"what": "first job of --multirun, at its start", "mb": resident[0]},
            {"what": "last job, at its start", "mb": resident[-1]},
        ],
        "by_job": by_job,
        "programs": [program(config, name) for name in config.nets],
    }


def jobs(home: Path, overrides: list[str], count: int) -> list[Row]:
    """Seconds, and resident memory at the start, of each job of a --multirun over seeds.

    Raises:
      FsbError: if the sweep fails.
    """
    given = ("--multirun", f"seed=range({count})", f"hydra.sweep.dir={home}/sweep", *overrides)
    seen: list[tuple[float, float]] = []
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(
            [*TRAIN, *given], stdout=subprocess.PIPE, stderr=told, text=True, bufsize=1
        )
        for line in process.stdout or ():
            if re.match(r"job \d+:", line):
                status = Path(f"/proc/{process.pid}/status").read_text()
                resident = int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) * 1024 / MB
                seen.append((time.monotonic(), resident))
        if process.wait():
            told.seek(0)
            raise failed((*TRAIN, *given), told.read())
    seen.append((time.monotonic(), 0.0))
    return [
        {"job": number, "seconds": end - begun, "mb_at_start": resident}
        for number, ((begun, resident), (end, _)) in enumerate(itertools.pairwise(seen))
    ]


def program(config: DictConfig, name: str) -> Row:
    """Bytes of a train step by the compiler's own account.

    The results take the place of the arguments that they share (``aliased``), so a step needs
    arguments + results - aliased + temporary.
    """
    found = compiled_step(config, name).memory_analysis()
    row = {
        "net": name,
        "batch_size": config.batch_size,
        "arguments_mb": found.argument_size_in_bytes / MB,
        "results_mb": found.output_size_in_bytes / MB,
        "aliased_mb": found.alias_size_in_bytes / MB,
        "temporary_mb": found.temp_size_in_bytes / MB,
    }
    whole = row["arguments_mb"] + row["results_mb"] - row["aliased_mb"] + row["temporary_mb"]
    return row | {"whole_mb": whole}
