"""Checkpoints of a run: atomic, exact to the bit, and verified when they are read.

Orbax writes each checkpoint completely or not at all. The same atomic save holds a JSON record with
the SHA-256 of all bytes of the state. It is computed again on restoring, so a damaged checkpoint is
detected, named in a warning, and the previous one is used.
"""

from __future__ import annotations

import math
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import jax

from fsb.errors import FsbError, first_line
from fsb.runtime.processes import agree
from fsb.storage.checkpoint_record import Damaged, kept, ranked, read_record, seal
from fsb.storage.leaves import (
    empty_leaf,
    named_leaves,
    rebuilt,
    restore_target,
    sha256,
    signature,
    storable,
)
from fsb.storage.quiet import quiet_orbax
from fsb.types import PyTree


class Checkpoints:
    """The checkpoints in ``folder``: the newest ``keep_last`` and the best ``keep_best`` of them.

    A state is any pytree whose leaves are JAX or NumPy arrays, typed keys or Python numbers. A
    restored state has the same bits, on the shardings of the state that it is restored onto (weak
    types become strong). Saving is synchronous; reading does not change the folder. With several
    processes, every process calls ``save`` and ``restore`` on one shared folder.

    Args:
      folder: where the checkpoints are; it is made by the first ``save``.
      keep_last: how many of the newest to keep, at least 1.
      keep_best: how many of the best to keep.

    Raises:
      FsbError: if a number is out of its range.

    >>> import tempfile, jax.numpy as jnp
    >>> checkpoints = Checkpoints(tempfile.mkdtemp())
    >>> checkpoints.save(100, {"w": jnp.arange(3.0)}, metric=-98.5)
    >>> checkpoints.steps()
    [100]
    >>> state, step = checkpoints.restore({"w": jnp.zeros(3)})
    >>> step, state["w"].tolist()
    (100, [0.0, 1.0, 2.0])
    """

    def __init__(self, folder: str | Path, keep_last: int = 2, keep_best: int = 1):
        if keep_last < 1 or keep_best < 0:
            given = f"{keep_last} and {keep_best}"
            raise FsbError(f"keep_last must be at least 1 and keep_best at least 0, got {given}")
        self.folder = Path(folder).absolute()
        self.keep_last, self.keep_best = keep_last, keep_best
        self._orbax: Any = None
        self._clean = False

    def steps(self) -> list[int]:
        """The steps with a checkpoint, in increasing order; restoring shows which are valid."""
        if not self.folder.is_dir():
            return []
        return sorted(int(p.name) for p in self.folder.iterdir() if p.name.isdecimal())

    def save(self, step: int, state: PyTree, metric: float | None = None) -> None:
        """Saves ``state`` after ``step`` steps; ``metric`` (higher is better) ranks it.

        If the step has a checkpoint already, a valid copy of the same state is kept and anything
        else is replaced. Checkpoints of later steps, left by a run that was resumed from an
        earlier step, are removed: the newest save is always the latest step.

        Raises:
          FsbError: if the folder cannot be written.
        """
        step = int(step)
        metric = float(metric) if metric is not None and math.isfinite(metric) else None
        leaves = named_leaves(state)
        record: dict[str, Any] = {"step": step, "metric": metric}
        record |= {"leaves": signature(leaves), "sha256": sha256(leaves)}
        record["seal"] = seal(record)
        if not self._holds(step, record, state):
            self._write(step, leaves, record)
        if jax.process_index() == 0:
            metrics = {s: m for s, m in self._metrics().items() if s <= step}
            for old in set(self.steps()) - kept(metrics, self.keep_last, self.keep_best):
                self._remove(old)
        agree(True)  # no process lists the folder while it changes

    def restore(self, abstract_state: PyTree, which: int | str = "latest") -> tuple[PyTree, int]:
        """Restores a state; returns it with its step.

        A damaged checkpoint is named in a warning, and the next best or next older one is used,
        unless the step was given by number.

        Args:
          abstract_state: a state of the same structure: arrays, or ``jax.ShapeDtypeStruct`` with
            the wanted shardings (the first device by default).
          which: ``"latest"``, ``"best"`` or a step.

        Raises:
          FsbError: if there is no such step or no valid checkpoint, or if the structure, a shape or
            a type of the state differs.
        """
        candidates = self._candidates(which)
        for tried, step in enumerate(candidates, start=1):
            try:
                return self._read(step, abstract_state), step
            except Damaged as damage:
                text = f"checkpoint {self.folder / str(step)} is damaged ({damage})"
                if which == step:
                    others = [other for other in self.steps() if other != step]
                    raise FsbError(f"{text}; other steps: {_listed(others)}") from damage
                rest = candidates[tried:]
                follow = f"trying step {rest[0]}" if rest else "no other is left"
                warnings.warn(f"{text}; {follow}", stacklevel=2)
        raise FsbError(f"no valid checkpoint in {self.folder}; tried steps {_listed(candidates)}")

    def close(self) -> None:
        """Releases the resources of Orbax. Optional, since saving is synchronous."""
        if self._orbax is not None:
            self._orbax.close()
            self._orbax = None

    def _checkpointer(self) -> Any:
        import orbax.checkpoint as ocp

        quiet_orbax()
        if self._orbax is None:
            self._orbax = ocp.Checkpointer(ocp.CompositeCheckpointHandler())
        return self._orbax

    def _write(self, step: int, leaves: dict[str, Any], record: dict[str, Any]) -> None:
        import orbax.checkpoint as ocp

        try:
            if jax.process_index() == 0:
                self.folder.mkdir(parents=True, exist_ok=True)
                if not self._clean:  # remains of a killed run
                    self._sweep()
                self._remove(step)
            self._clean = True
            self._checkpointer().save(
                self.folder / str(step),
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(storable(leaves)), meta=ocp.args.JsonSave(record)
                ),
            )
        except Exception as error:  # a full disk raises an OSError, a ValueError or XLA's own
            if jax.process_index() == 0:
                self._sweep()  # gives the space back
            full = "no space left on device" if "No space left" in str(error) else ""
            raise FsbError(
                f"cannot write a checkpoint in {self.folder}: {full or first_line(error)[:120]}"
            ) from error

    def _read(self, step: int, abstract_state: PyTree) -> PyTree:
        import orbax.checkpoint as ocp

        record = read_record(self.folder / str(step))
        wanted = named_leaves(abstract_state)
        if record["leaves"] != signature(wanted):
            raise FsbError(
                f"checkpoint {self.folder / str(step)} does not fit: "
                + _difference(record["leaves"], signature(wanted))
            )
        targets = {name: restore_target(leaf) for name, leaf in wanted.items()}
        try:
            args = ocp.args.Composite(state=ocp.args.StandardRestore(storable(targets)))
            leaves = self._checkpointer().restore(self.folder / str(step), args=args).state
            leaves |= {name: empty_leaf(x) for name, x in targets.items() if not x.size}
            reason = "" if sha256(leaves) == record["sha256"] else "its SHA-256 differs"
        except Exception as error:  # damaged bytes can raise anything
            reason = f"{type(error).__name__}: {first_line(error)[:120]}"
        if not agree(not reason):
            raise Damaged(reason or "another process cannot read it")
        return rebuilt(abstract_state, leaves)

    def _metrics(self) -> dict[int, float | None]:
        """Of each step, the metric it was saved with; NaN where its record is damaged."""
        found = {}
        for step in self.steps():
            try:
                found[step] = read_record(self.folder / str(step))["metric"]
            except Damaged:
                found[step] = math.nan
        return found

    def _holds(self, step: int, record: dict[str, Any], state: PyTree) -> bool:
        """Whether there is already a valid checkpoint of exactly this state."""
        try:
            same = step in self.steps() and read_record(self.folder / str(step)) == record
            if not agree(same):
                return False
            self._read(step, state)
        except Damaged:
            return False
        return True

    def _candidates(self, which: int | str) -> list[int]:
        steps = self.steps()
        if which not in ("latest", "best") and isinstance(which, str):
            raise FsbError(f'which checkpoint must be "latest", "best" or a step, got "{which}"')
        if not steps:
            raise FsbError(f"no checkpoint in {self.folder}")
        if not isinstance(which, str):
            if which not in steps:
                raise FsbError(
                    f"no checkpoint of step {which} in {self.folder}; steps there: {_listed(steps)}"
                )
            return [which]
        if which == "best":
            return ranked(self._metrics())
        return steps[::-1]

    def _sweep(self) -> None:
        """Deletes what is half written or half removed."""
        for rest in self.folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(rest, ignore_errors=True)

    def _remove(self, step: int) -> None:
        """Deletes a checkpoint. It is renamed first, so that no half of it is taken for a whole."""
        folder = self.folder / str(step)
        if folder.exists():
            doomed = folder.with_name(f"{step}.{os.getpid()}.orbax-checkpoint-tmp-deleted")
            folder.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def _difference(saved: dict[str, str], wanted: dict[str, str]) -> str:
    name = next(n for n in sorted(saved | wanted) if saved.get(n) != wanted.get(n))
    return f"{name} is {saved.get(name, 'absent')} there and {wanted.get(name, 'absent')} here"


def _listed(steps: list[int]) -> str:
    return ", ".join(map(str, sorted(steps))) or "none"
