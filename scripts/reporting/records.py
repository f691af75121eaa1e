"""Where each number comes from: the record's path, the command and the commit that made it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

from fsb.errors import FsbError
from fsb.storage.metrics_file import MetricsFile

COMMIT = re.compile(r"\b[0-9a-f]{7,40}\b(?!-dirty)")
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.M | re.S)
SETTINGS = ("summary.json", "results.json")


class Origin(NamedTuple):
    """What stands under every table and figure."""

    path: Path
    command: str
    commit: str


def read_json(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FsbError(f"{path}: cannot be read: {error}") from error


def short(commit):
    """The first seven digits of every commit in the text."""
    return re.sub(r"\b([0-9a-f]{7})[0-9a-f]{1,33}\b", r"\1", commit)


def checked(path, name, command, commit):
    """The origin of a record, or an error that names it."""
    for what, text in (("command", command), ("commit", commit)):
        if not text or (what == "commit" and not COMMIT.search(text)):
            raise FsbError(f"{path}: {name} has no {what}: it cannot be made again")
    return Origin(path, command.strip(), short(commit))


def of_claim(experiments, name, record):
    """The origin of a row of the ledger."""
    path = experiments / record["folder"] / "claims.json"
    return checked(path, repr(name), record.get("command"), str(record.get("commit") or ""))


def of_file(experiments, path):
    """The origin of a table or a figure.

    The commit stands in its rows, else in summary.json or results.json beside it; the command is
    that of the README. What comes from a program with claims has both from its claims.
    """
    name, folder = path.relative_to(experiments), path.parent
    claims = [r for r in claims_of(experiments, folder) if f"/{folder.name}.py" in r["command"]]
    if claims:
        return checked(path, name, claims[0]["command"], claims[0].get("commit") or "")
    readme = nearest_readme(experiments, folder)
    fence = FENCE.search(readme)
    return checked(path, name, fence[1] if fence else "", commit_of(experiments, folder, readme))


def commit_of(experiments, folder, readme):
    found = {row["git_commit"] for row in rows(folder / "results.csv") if "git_commit" in row}
    for file in (folder / part for part in SETTINGS):
        if not found and file.exists():
            found |= {read_json(file).get("git_commit") or ""}
    if not found:
        found = {record.get("commit") or "" for record in claims_of(experiments, folder)}
    if not any(found):  # a folder of notes
        found = {c for line in re.findall(r"[Cc]ommits?\b.*", readme) for c in COMMIT.findall(line)}
    return ", ".join(sorted(map(short, found)))


def rows(path):
    return MetricsFile(path).read() if path.exists() else []


def claims_of(experiments, folder):
    """The records that the program of this folder, or of the one above, has written."""
    while folder != experiments:
        if (folder / "claims.json").exists():
            records = read_json(folder / "claims.json").values()
            return [{"command": "", **record} for record in records]
        folder = folder.parent
    return []


def nearest_readme(experiments, folder):
    while folder != experiments.parent:
        if (folder / "README.md").exists() and folder != experiments:
            return (folder / "README.md").read_text()
        folder = folder.parent
    return ""


def environments(experiments):
    """(machine, versions) -> the records that name them."""
    found = {}
    for path in sorted(experiments.rglob("*.json")):
        if path.name in SETTINGS:
            content = read_json(path)
            versions = ", ".join(f"{k} {v}" for k, v in (content.get("versions") or {}).items())
            found.setdefault((content.get("device") or "not recorded", versions), []).append(path)
    return found
