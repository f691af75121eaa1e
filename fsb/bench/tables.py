"""The tables of a suite: results.json with all of them, results.csv and results.md."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fsb.storage.atomic import write_json_atomic, write_text_atomic
from fsb.storage.metrics_file import write_csv
from fsb.storage.provenance import provenance

Row = dict[str, Any]
Tables = dict[str, list[Row]]
"""The rows of each table by its title; the first table is the main one."""


def save(folder: Path, settings: Mapping[str, Any], tables: Tables, command: str) -> None:
    """Writes results.json, results.csv (the first table) and results.md in place of older ones.

    Args:
      settings: what the numbers depend on.
      command: that made them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    origin, now = provenance(), datetime.datetime.now(datetime.UTC)
    record = {"date": now.isoformat(timespec="seconds"), **settings, **tables, **origin}
    write_csv(folder / "results.csv", next(iter(tables.values())))
    write_json_atomic(folder / "results.json", record)
    versions = ", ".join(f"{name} {number}" for name, number in origin["versions"].items())
    told = f"`{command}`, {now:%Y-%m-%d}, commit {origin['git_commit']}, {origin['device']}"
    write_text_atomic(folder / "results.md", f"{told}; {versions}.\n\n{markdown(tables)}\n")


def markdown(tables: Tables) -> str:
    """All tables as text that is Markdown, too.

    >>> print(markdown({"some_times": [{"what": "a", "ms": 1.23456}, {"what": "bc", "met": True}]}))
    Some times:
    <BLANKLINE>
    | what | ms    | met |
    | ---- | ----- | --- |
    | a    | 1.235 | -   |
    | bc   | -     | yes |
    """
    parts = []
    for title, rows in tables.items():
        if rows:
            parts.append(f"{title.replace('_', ' ').capitalize()}:\n\n{_table(rows)}")
    return "\n\n".join(parts)


def _table(rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[name.replace("_", " ") for name in columns]]
    cells += [[_cell(row.get(name)) for name in columns] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    lines = [[c.ljust(w) for c, w in zip(line, widths, strict=True)] for line in cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")
