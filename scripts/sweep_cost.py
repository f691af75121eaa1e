"""What a sweep costs: members as one program against one by one, and the jobs of --multirun.

python scripts/sweep_cost.py members [overrides ...]     16 seeds; start and compilation included
python scripts/sweep_cost.py multirun [overrides ...]    30 seeds: memory and seconds of each job
"""

from __future__ import annotations

import itertools
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "fsb.train"]


def seconds(*arguments: str) -> float:
    begun = time.monotonic()
    subprocess.run([*COMMAND, *arguments], check=True, capture_output=True)
    return time.monotonic() - begun


def members(home: Path, overrides: list[str], count: int = 16, rounds: int = 2) -> None:
    """Interleaved: a run alone, all members, a run alone, ..."""
    alone, together = [], []
    for number in range(rounds):
        alone.append(seconds(*overrides, f"hydra.run.dir={home}/alone{number}"))
        grid = f"members={{seed: {list(range(count))}}}"
        together.append(seconds(*overrides, grid, f"hydra.run.dir={home}/members{number}"))
    alone.append(seconds(*overrides, f"hydra.run.dir={home}/alone"))
    one, many = statistics.median(alone), statistics.median(together)
    print(f"a run alone: {one:.1f} s ({', '.join(f'{s:.1f}' for s in alone)})")
    print(f"{count} members: {many:.1f} s ({', '.join(f'{s:.1f}' for s in together)})")
    print(f"{count} members / one by one: {many / (count * one):.3f}")


def multirun(home: Path, overrides: list[str], count: int = 30) -> None:
    """Resident memory and time at the beginning of each job."""
    given = ["--multirun", f"seed=range({count})", f"hydra.sweep.dir={home}/sweep", *overrides]
    process = subprocess.Popen(
        [*COMMAND, *given], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
    )
    seen = []
    for line in process.stdout or ():
        if re.match(r"job \d+:", line):
            status = Path(f"/proc/{process.pid}/status").read_text()
            resident = int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024
            seen.append((time.monotonic(), resident))
    process.wait()
    seen.append((time.monotonic(), seen[-1][1]))
    for job, ((begun, resident), (ended, _)) in enumerate(itertools.pairwise(seen)):
        print(f"job {job}: {ended - begun:.2f} s, {resident:.0f} MB at its start")
    later = [resident for _, resident in seen[3:-1]]
    print(f"memory from job 3 on: {min(later):.0f} to {max(later):.0f} MB")


if __name__ == "__main__":
    kinds = {"members": members, "multirun": multirun}
    if len(sys.argv) < 2 or sys.argv[1] not in kinds:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        kinds[sys.argv[1]](Path(folder), sys.argv[2:])
