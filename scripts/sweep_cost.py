"""What a sweep costs: members as one program against one by one, and the jobs of --multirun.

python scripts/sweep_cost.py members [overrides ...]     16 seeds; start and compilation included
python scripts/sweep_cost.py multirun [overrides ...]    30 seeds: memory and seconds of each job
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from fsb.bench.memory import jobs
from fsb.bench.sweep import runs


def members(home: Path, overrides: list[str], count: int = 16, rounds: int = 3) -> None:
    """A run alone and all members, in turns; ``python -m fsb.bench suite=sweep`` saves tables."""
    alone, together = (list(values) for values in runs(home, overrides, count, rounds).values())
    one, many = statistics.median(alone), statistics.median(together)
    print(f"a run alone: {one:.1f} s ({', '.join(f'{s:.1f}' for s in alone)})")
    print(f"{count} members: {many:.1f} s ({', '.join(f'{s:.1f}' for s in together)})")
    print(f"{count} members / one by one: {many / (count * one):.3f}")


def multirun(home: Path, overrides: list[str], count: int = 30) -> None:
    """Resident memory and time of each job; ``python -m fsb.bench suite=memory`` saves tables."""
    rows = jobs(home, overrides, count)
    for row in rows:
        print(f"job {row['job']}: {row['seconds']:.2f} s, {row['mb_at_start']:.0f} MB at its start")
    later = [row["mb_at_start"] for row in rows[3:]]
    print(f"memory from job 3 on: {min(later):.0f} to {max(later):.0f} MB")


if __name__ == "__main__":
    kinds = {"members": members, "multirun": multirun}
    if len(sys.argv) < 2 or sys.argv[1] not in kinds:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        kinds[sys.argv[1]](Path(folder), sys.argv[2:])
