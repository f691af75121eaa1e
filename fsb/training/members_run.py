"""The training of a sweep's members, each with a run folder of its own."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from omegaconf import DictConfig

from fsb.cli.members import members
from fsb.errors import Diverged, FsbError
from fsb.runtime.clusters import place
from fsb.runtime.interrupts import interrupts
from fsb.runtime.memory import require_memory
from fsb.runtime.progress import Progress
from fsb.storage.atomic import write_json_atomic
from fsb.storage.checkpoints import Checkpoints
from fsb.storage.curves import compare_curves
from fsb.storage.loggers import Logger
from fsb.storage.run_folder import read_summary
from fsb.training.launch import open_members
from fsb.training.members import (
    Block,
    Programs,
    batches,
    block,
    blocks,
    member_state,
    try_members,
)
from fsb.training.recorder import Recorder
from fsb.training.results import affordable
from fsb.training.setup import assemble
from fsb.training.step import TrainState, chunk_length


def assemble_members(config: DictConfig) -> Block:
    """The members of a sweep, checked and traced.

    Raises:
      FsbError: as ``assemble``, ``members`` and ``try_members``; or if the sweep is to be profiled,
        or has several processes.
    """
    if config.get("profile") is not None:
        raise FsbError("members: profile=N traces a single run; leave one of the two out")
    given = config.distributed
    told = place(given.cluster, given.coordinator) if given.cluster else given
    if told.num_processes > 1:
        raise FsbError("members: share the devices of one process; leave distributed out")
    found = members(config)
    together = block(assemble(found[0].config), found)
    for name, count in affordable(together.parts, cast(dict, config)).items():
        config[name] = count
        for member in found:
            member.config[name] = count
    try_members(together)
    return together


def train_members(config: DictConfig, together: Block) -> None:
    """Trains all members, as many side by side as fit, then names the best by validation ELBO.

    Raises:
      Diverged: if every member has diverged.
    """
    with open_members(config, together.members) as (folder, opened):
        scores: dict[str, float | None] = {}
        rows: dict[str, list] = {}
        parts = blocks(together)
        print(f"{len(together.members)} members in {folder}")
        for number, part in enumerate(parts, start=1):
            title = f"{together.parts.data.name}, {len(part.members)} members"
            if len(parts) > 1:
                title += f", block {number} of {len(parts)}"
            found = _train(config, part, title, [opened.pop(0) for _ in part.members])
            for member, record in zip(part.members, found, strict=True):
                scores[member.name] = record.score if record else None
                if record:
                    rows[member.name] = record.rows
        table = [
            {"member": member.name, **member.values, "valid_elbo": scores[member.name]}
            for member in together.members
        ]
        good = {name: score for name, score in scores.items() if score is not None}
        if not good:
            raise Diverged(f"all members have diverged; see {folder}")
        compare_curves(folder / "curves.png", rows, "valid_elbo", folder.name, "validation ELBO")
        best = max(good, key=good.__getitem__)
        write_json_atomic(folder / "summary.json", {"best": best, "members": table})
        shutil.rmtree(folder / "best", ignore_errors=True)  # of a sweep that was to end sooner
        shutil.copytree(
            folder / best, folder / "best", ignore=shutil.ignore_patterns(".owner", "wandb")
        )
        print(f"best by validation ELBO ({good[best]:.2f}): {folder / best}")


def _train(
    config: DictConfig, together: Block, title: str, opened: Sequence[tuple[Path, Logger]]
) -> list[Recorder | None]:
    """Trains the members of a block; returns what each has recorded, None if it diverged."""
    programs = Programs(together)
    parts, count = together.parts, len(together.members)
    replicate = parts.recipe.layout.replicate
    images, probe = replicate(parts.data.train), replicate(parts.probe)
    settings = programs.put(together.settings)
    rows = batches(together, config.steps_per_call)
    with contextlib.ExitStack() as until_the_end:
        asked = until_the_end.enter_context(interrupts())
        bar = until_the_end.enter_context(Progress(title, config.max_steps))
        stores = [
            Checkpoints(own / "checkpoints", config.keep_last, config.keep_best)
            for own, _ in opened
        ]
        alive = np.array(["diverged_at" not in read_summary(own) for own, _ in opened])
        step = _common_step(stores, alive, config.max_steps)
        records = [
            Recorder(
                together.of(i),
                member.config,
                *opened[i],
                step,
                bar=_Quiet(bar),
                statistics=_statistics(programs, together, i),
            )
            for i, member in enumerate(together.members)
        ]
        states = programs.first(settings, programs.put(together.seeds), probe, parts.data.mean)

        @contextlib.contextmanager
        def unless_diverged(index: int) -> Iterator[None]:
            try:
                yield
            except Diverged as error:
                alive[index] = False
                print(f"{together.members[index].name}: {error}")

        def on_host(states: TrainState) -> TrainState:
            here = jax.device_get(states._replace(key=jax.random.key_data(states.key)))
            return here._replace(key=jax.random.wrap_key_data(here.key))

        def for_each(action: Callable[[int, TrainState], Any], states: TrainState) -> None:
            """Calls ``action(index, state)`` for the members that are alive."""
            here = on_host(states)
            for i in map(int, np.flatnonzero(alive)):
                with unless_diverged(i):
                    action(i, member_state(here, i, parts))

        def restored(states: TrainState) -> TrainState:
            here = on_host(states)
            found = [member_state(here, i, parts) for i in range(count)]
            for i in map(int, np.flatnonzero(alive)):
                found[i], _ = stores[i].restore(found[i], step)
            return programs.put(jax.tree.map(lambda *members: jnp.stack(members), *found))

        def log_rows(states: TrainState) -> TrainState:
            for_each(lambda i, state: records[i].log_row(state), states)
            return states._replace(loss_sum=programs.put(np.zeros(count, np.float32)))

        def save(step: int, states: TrainState) -> None:
            with asked.saving():
                for_each(lambda i, state: stores[i].save(step, state, records[i].score), states)

        if step:
            states = restored(states)
        if not all(record.rows for record in records):
            states = log_rows(states)
        stop, first = 0, step
        while step < config.max_steps and alive.any() and not (stop := asked.agreed()):
            steps = chunk_length(config, step)
            before = np.asarray(states.loss_sum)
            taken = programs.put_rows(rows(step, steps))
            if step == first:
                require_memory(programs.run, settings, states, images, taken, steps)
            states = programs.run(settings, states, images, taken, steps)
            step += steps
            elbos = (before - np.asarray(states.loss_sum)) / steps
            bar.update(step, **{"best train ELBO": float(np.max(elbos[alive]))})
            for i in map(int, np.flatnonzero(alive)):
                with unless_diverged(i):
                    records[i].check(step, float(elbos[i]))
            last = step == config.max_steps
            if last or step % config.eval_every == 0:
                states = log_rows(states)
            if last or step % config.checkpoint_every == 0:
                save(step, states)
        if stop and step < config.max_steps:
            save(step, states)
            folder = opened[0][0].parent
            print(f"stopped at step {step}; to go on: python -m fsb.train resume={folder}")
            raise SystemExit(128 + stop)
        for_each(lambda i, state: records[i].finish(state), states)
    return [record if alive[i] else None for i, record in enumerate(records)]


def _common_step(stores: Sequence[Checkpoints], alive: np.ndarray, most: int) -> int:
    """The newest step that every member has a checkpoint of; 0 if none has any.

    Raises:
      FsbError: if there is none but some have checkpoints, or it is past ``most``.
    """
    found = [set(store.steps()) for store, lives in zip(stores, alive, strict=True) if lives]
    if not any(found):
        return 0
    common = set.intersection(*found)
    if not common:
        raise FsbError("members: no step has a checkpoint of every member; resume each by itself")
    if max(common) > most:
        raise FsbError(f"max_steps={most}: the members are already at step {max(common)}")
    return max(common)


def _statistics(programs: Programs, together: Block, index: int) -> Callable:
    """``gradient_statistics`` with the settings of a member."""
    values = {name: x[index] for name, x in together.settings.items()}
    return lambda recipe, *given: programs.statistics(values, *given)


class _Quiet:
    """The progress bar of a sweep, as one of its members sees it."""

    def __init__(self, bar: Progress):
        self._bar = bar

    @property
    def steps_per_second(self) -> float | None:
        return self._bar.steps_per_second

    def update(self, step: int, **fields: Any) -> None:
        pass

    def note(self, **fields: Any) -> None:
        self._bar.note(**fields)
