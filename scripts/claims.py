"""The ledger of claims: experiments/CLAIMS.md, from the claims.json of the experiments.

    python scripts/claims.py [--measure] [--experiments FOLDER]

``--measure`` runs the analytic experiments first (``make claims``). A verdict that comes with its
checks is made anew from their numbers.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import ledger
import recorded
import rule
from ledger import CLAIMS, DRAWING, OPEN, PAPERS, VERDICTS

from fsb.errors import FsbError
from fsb.storage.atomic import write_text_atomic

ROOT = Path(__file__).resolve().parent.parent
HEAD = f"""\
# Claims

Every lemma, proposition, theorem, table and figure of the four papers that `fsb` starts from: what
became of it here, our number beside theirs or beside the predicted one, and the command that shows
it. Written by `python scripts/claims.py` from the `claims.json` of the experiments; `make claims`
measures the analytic ones anew.

{rule.WORDS}
"""


def collect(folder):
    """All records of experiments/*/claims.json, by id, each with the folder it is from."""
    known, found = {claim.id: claim for claim in CLAIMS}, {}
    for path in sorted(folder.glob("*/claims.json")):
        for name, record in json.loads(path.read_text()).items():
            if name not in known:
                raise FsbError(
                    f"{path}: no claim is called {name!r}; see CLAIMS in scripts/ledger.py"
                )
            if "ours" not in record:
                raise FsbError(f"{path}: {name!r} has no 'ours'")
            if name in found:
                raise FsbError(f"{path}: {name!r} stands in {found[name]['folder']} as well")
            verdict, lacks = rule.verdict(known[name], record, path)
            decided = {"verdict": verdict, "lacks": lacks, "folder": path.parent.name}
            found[name] = {**record, **decided}
    return found


def words(value):
    """Numbers and named numbers as text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {nested(part)}" for name, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def nested(value):
    return f"({words(value)})" if isinstance(value, dict) else words(value)


def cell(text):
    return str(text).replace("\n", " ").replace("|", "\\|")


def line(claim, record):
    """One row of a table."""
    if record is None:
        state = DRAWING if claim.published == DRAWING else OPEN
        published = "" if claim.published == DRAWING else claim.published
        cells = [claim.id, claim.statement, state, "", published, command(claim.command)]
    else:
        theirs = record.get("theirs") or record.get("predicted") or claim.published
        said = [f"*{record['note']}*"] if record.get("note") else []
        said += [f"Lacks, by the rule: {record['lacks']}."] if record["lacks"] else []
        ours = " ".join([words(record["ours"]), *said])
        commit = re.sub(r"\b([0-9a-f]{7})[0-9a-f]{33}\b", r"\1", record.get("commit") or "")
        origin = f" ({commit})" if commit else ""
        shown = f"**{record['verdict']}**"
        shows = command(record.get("command") or claim.command) + origin
        cells = [
            claim.id,
            record.get("claim") or claim.statement,
            shown,
            ours,
            words(theirs),
            shows,
        ]
    return "| " + " | ".join(map(cell, cells)) + " |"


def command(text):
    return f"`{text}`" if text else ""


def build(folder):
    """The text of the ledger."""
    found = collect(folder)
    papers = [c for c in CLAIMS if not c.ours and c.published != DRAWING]
    done = [found[claim.id]["verdict"] for claim in papers if claim.id in found]
    counts = [f"{done.count(v)} {v.replace('holds', 'hold', 1)}" for v in VERDICTS[:2]]
    counts.append(f"{done.count(VERDICTS[2])} do not hold")
    left = len(papers) - len(done) + done.count(OPEN)
    text = HEAD + f"Of {len(papers)}: {', '.join(counts)}, {left} not yet measured.\n"
    for letter, title in PAPERS.items():
        text += f"\n## {letter}. {title}\n\n"
        mine = [claim for claim in CLAIMS if claim.id.startswith(letter + " ")]
        text += rows([claim for claim in mine if not claim.ours], found)
        added = [claim for claim in mine if claim.ours]
        text += "\nOur additions, not counted:\n\n" + rows(added, found) if added else ""
    return text


def rows(claims, found):
    head = "| | claim | verdict | ours | theirs, or predicted | shown by (commit) |\n"
    lines = [line(claim, found.get(claim.id)) for claim in claims]
    return head + "|---|---|---|---|---|---|\n" + "\n".join(lines) + "\n"


def analytic():
    """The experiments that ``--measure`` runs: those that the list names."""
    start = ledger.HERE.partition("{")[0]
    return dict.fromkeys(c.command.split()[-1] for c in CLAIMS if c.command.startswith(start))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="run the analytic experiments first")
    parser.add_argument("--experiments", type=Path, default=ROOT / "experiments")
    arguments = parser.parse_args()
    start = time.perf_counter()
    for path in analytic() if arguments.measure else ():
        out = arguments.experiments / "bias_variance"
        subprocess.run([sys.executable, ROOT / path, "--out", out], check=True)
    try:
        if arguments.experiments == ROOT / "experiments":
            recorded.write(arguments.experiments)
        write_text_atomic(arguments.experiments / "CLAIMS.md", build(arguments.experiments))
    except FsbError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{arguments.experiments / 'CLAIMS.md'} ({time.perf_counter() - start:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
