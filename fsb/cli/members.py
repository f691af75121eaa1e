"""The members of a sweep that is trained as one program."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from fsb.cli.factory import build, checked
from fsb.cli.schema import Train
from fsb.errors import FsbError, nearest

SWEPT = ("estimator", "optimizer", "control_optimizer", "objective")
"""The keys whose numbers can differ between members, besides the seed."""

MOST = 4096


class Member(NamedTuple):
    """One run of a sweep.

    name: its folder, such as "3_seed-1_learning_rate-0.0004".
    config: its configuration, as for a run of its own.
    values: what differs between the members, by full name.
    """

    name: str
    config: DictConfig
    values: dict[str, float]


def members(config: DictConfig) -> list[Member]:
    """The members of ``config.members``: the product of its lists, the last varying fastest.

    Raises:
      FsbError: if a key is no number that members may differ in, a list is empty or repeats a
        value, or a member's configuration is wrong.
    """
    lists: Mapping[str, list] = OmegaConf.to_container(config.members)  # type: ignore[assignment]
    if not lists or not all(lists.values()):
        raise FsbError("members: give lists of values, such as members='{seed: [0, 1, 2]}'")
    for key, values in lists.items():
        _check(config, key, values)
    count = math.prod(map(len, lists.values()))
    if count > MOST:
        raise FsbError(f"members: {count} runs are too many for one sweep; at most {MOST}")
    found = []
    for number, of_one in enumerate(itertools.product(*lists.values())):
        chosen = dict(zip(lists, of_one, strict=True))
        plain: Any = OmegaConf.to_container(config)
        for key, value in chosen.items():
            _put(plain, key.split("."), value)
        # Neither "=" nor ",": Hydra would ask for quotes in resume=<folder>.
        words = "_".join(f"{key.rpartition('.')[2]}-{value}" for key, value in chosen.items())
        name = f"{number}_{words}"[:200]
        own = checked({**plain, "members": None, "resume": None}, Train)
        for home in {key.partition(".")[0] for key in chosen} - {"seed"}:
            build(own, home)  # what the factories themselves refuse
        found.append(Member(name, own, chosen))
    return found


def _check(config: DictConfig, key: str, values: list) -> None:
    home, dot, _ = key.partition(".")
    if key != "seed" and not (home in SWEPT and dot):
        near = nearest(key, [*_numbers(config), "seed"])
        raise FsbError(
            f"members: {key} is not seed nor a number of {', '.join(SWEPT)}{near or ';'} "
            "sweep it with --multirun"
        )
    if key != "seed" and key not in _numbers(config):
        near = nearest(key, _numbers(config))
        raise FsbError(
            f"members: {key} is no number of this configuration{near or ';'} "
            + (f"choose from {', '.join(_numbers(config))}")
        )
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        raise FsbError(f"members: {key} must be a list of numbers, got {values}")
    if len(set(values)) < len(values):
        raise FsbError(f"members: {key} repeats a value in {values}")


def _numbers(config: DictConfig) -> list[str]:
    """The full names of all numbers below the keys of ``SWEPT``."""

    def below(value: Any, path: str) -> list[str]:
        if isinstance(value, dict):
            return [name for k, v in value.items() for name in below(v, f"{path}.{k}")]
        return [path] if isinstance(value, int | float) and not isinstance(value, bool) else []

    return [n for k in SWEPT for n in below(OmegaConf.to_container(config)[k], k)]  # type: ignore


def _put(values: Any, path: list[str], value: Any) -> None:
    for name in path[:-1]:
        values = values[name]
    values[path[-1]] = value
