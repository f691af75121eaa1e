"""Runs the examples and records what they print and lose, for the gallery of the documentation.

python scripts/gallery.py            # all of them, into docs/examples/recorded.json
python scripts/gallery.py vae_jax    # some, beside those already recorded
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
from datetime import date
from pathlib import Path

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"  # for sharded.py

from fsb.storage.atomic import write_json_atomic
from fsb.storage.provenance import device, git_commit, versions

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "docs/examples/recorded.json"


def run(name: str) -> dict[str, str]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        losses = importlib.import_module(name).main()
    found = versions()
    made = (
        f"{date.today()}, commit {str(git_commit(ROOT))[:7]}, Python {found['python']}, "
        f"jax {found['jax']}, seed 0, {device()}, simulated devices of one machine"
    )
    return {
        "made": made,
        "output": printed.getvalue(),
        "losses": " ".join(f"{loss:.4g}" for loss in losses),
    }


def main(chosen: list[str]) -> None:
    sys.path.insert(0, str(ROOT / "examples"))
    names = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
    if unknown := set(chosen) - set(names):
        sys.exit(f"gallery: no example {sorted(unknown)}; there are {names}")
    record = json.loads(RECORD.read_text()) if chosen else {}
    for name in chosen or names:
        print(name, flush=True)
        record[name] = run(name)
    write_json_atomic(RECORD, dict(sorted(record.items())))


if __name__ == "__main__":
    main(sys.argv[1:])
