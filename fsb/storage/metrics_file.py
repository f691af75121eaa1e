"""CSV files: the numbers of a run, one line at a time, and tables in one piece."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from fsb.errors import FsbError, first_line
from fsb.storage.atomic import write_text_atomic

Row = dict[str, Any]


class MetricsFile:
    """A CSV file with one line per ``append``; the header grows with new columns.

    Floats are read back exactly as they were written. A line is on disk when ``append`` returns; a
    half-written line of a killed run is dropped. Only the first of several processes writes.

    >>> import tempfile
    >>> file = MetricsFile(tempfile.mkdtemp() + "/metrics.csv")
    >>> file.append({"step": 10, "train_elbo": -120.5})
    >>> file.append({"step": 20, "train_elbo": -110.25, "test_elbo": -111.0})
    >>> file.truncate(10)
    >>> file.read()
    [{'step': 10, 'train_elbo': -120.5}]
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._columns: list[str] | None = None

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds a row of numbers or strings; ``None`` leaves the cell empty.

        Raises:
          FsbError: if the file cannot be written.
        """
        if jax.process_index() != 0:
            return
        row = {name: _cell(value) for name, value in row.items()}
        if self._columns is None or not row.keys() <= set(self._columns):
            self._write([*self.read(), row])
            return
        try:
            with open(self.path, "a", encoding="utf-8", newline="") as file:
                file.write(_lines([row], self._columns))
        except OSError as error:
            raise FsbError(f"cannot write {self.path}: {error.strerror}") from error

    def read(self) -> list[Row]:
        """All complete rows; cells become ints or floats if they can, empty ones are left out.

        Raises:
          FsbError: if the file cannot be read.
        """
        try:
            text = self.path.read_text("utf-8") if self.path.exists() else ""
        except (OSError, ValueError) as error:
            raise FsbError(f"cannot read {self.path}: {first_line(error)}") from error
        whole = text[: text.rfind("\n") + 1]
        try:
            rows = list(csv.DictReader(io.StringIO(whole, newline="")))
        except csv.Error as error:
            raise FsbError(f"cannot read {self.path}: {error}") from None
        return [{k: _parsed(v) for k, v in row.items() if k is not None and v} for row in rows]

    def truncate(self, step: int) -> None:
        """Drops the rows after ``step``, for a run that continues from there."""
        if jax.process_index() == 0 and self.path.exists():
            self._write([row for row in self.read() if row.get("step", step) <= step])

    def _write(self, rows: Sequence[Row]) -> None:
        self._columns = write_csv(self.path, rows)


def write_csv(
    path: str | Path, rows: Sequence[Mapping[str, Any]], digits: int | None = None
) -> list[str]:
    """Writes rows to a CSV file in place of what is there, atomically; returns the columns.

    Args:
      path: the file.
      rows: the columns are the keys of all rows, in the order in which they first appear.
      digits: significant digits of the floats; all by default.

    Raises:
      FsbError: if the file cannot be written.
    """

    def shown(value: Any) -> Any:
        return f"{value:.{digits}g}" if digits and isinstance(value, float) else _cell(value)

    cells = [{name: shown(value) for name, value in row.items()} for row in rows]
    columns = list(dict.fromkeys(name for row in cells for name in row))
    header = _lines([{name: name for name in columns}], columns)
    write_text_atomic(path, (header + _lines(cells, columns)) if cells else "")
    return columns


def _lines(rows: Sequence[Row], columns: list[str]) -> str:
    text = io.StringIO(newline="")
    csv.DictWriter(text, columns, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A Python number, which ``csv`` writes with ``repr``, or a string of one line."""
    if isinstance(value, str):
        return " ".join(value.split())
    return value.item() if hasattr(value, "item") else value


def _parsed(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
