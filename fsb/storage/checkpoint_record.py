"""The JSON record beside the state of a checkpoint, and which checkpoints to keep by it."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fsb.errors import first_line


class Damaged(Exception):
    """A checkpoint cannot be read, or holds other bytes than were written."""


def seal(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record, without its own entry ``"seal"``."""
    content = {name: entry for name, entry in record.items() if name != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_record(folder: Path) -> dict[str, Any]:
    """The record of the checkpoint in ``folder``, whose name is its step.

    Raises:
      Damaged: if the record is missing, cut off or altered.
    """
    try:
        record = json.loads((folder / "meta" / "metadata").read_text("utf-8"))
        sealed = record["seal"] == seal(record) and record["step"] == int(folder.name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{type(error).__name__}: {first_line(error)[:120]}") from error
    if not sealed:
        raise Damaged("its record was altered")
    return record


class _Info(NamedTuple):
    """A checkpoint as Orbax's policies see it."""

    step: int
    metrics: dict[str, Any] | None
    time: datetime.datetime = datetime.datetime.min  # no policy used here asks for it


def kept(metrics: Mapping[int, float | None], keep_last: int, keep_best: int) -> set[int]:
    """The steps to keep: the newest ``keep_last``, and the ``keep_best`` of the highest metric.

    Args:
      metrics: by step; one that is None or NaN is never among the best.

    >>> sorted(kept({10: -5.0, 20: -1.0, 30: None, 40: -3.0}, keep_last=1, keep_best=1))
    [20, 40]
    """
    from orbax.checkpoint import checkpoint_managers as orbax

    found = [
        _Info(step, None if metric is None or math.isnan(metric) else {"score": metric})
        for step, metric in sorted(metrics.items())
    ]
    newest = orbax.LatestN(keep_last)
    best = orbax.BestN(
        get_metric_fn=lambda metrics: metrics["score"],
        n=keep_best,
        keep_checkpoints_without_metrics=False,
    )
    policy = orbax.AnyPreservationPolicy([newest, best])
    keep = policy.should_preserve(found, context=orbax.PreservationContext())
    return {info.step for info, wanted in zip(found, keep, strict=True) if wanted}


def ranked(metrics: Mapping[int, float | None]) -> list[int]:
    """The steps from the best to the worst; those without a metric come last.

    A damaged record (NaN) comes first, since it may have been the best: trying it names it.

    >>> ranked({10: -5.0, 20: -1.0, 30: None, 40: math.nan})
    [40, 20, 10, 30]
    """

    def rank(step: int) -> tuple[float, int]:
        metric = metrics[step]
        if metric is None:
            return -math.inf, step
        return (math.inf if math.isnan(metric) else metric), step

    return sorted(metrics, key=rank, reverse=True)
