"""Many runs as one program: ``jax.vmap`` of the train step over members of a sweep."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from fsb.cli.factory import build
from fsb.cli.members import Member
from fsb.data.stream import order
from fsb.errors import FsbError, first_line
from fsb.runtime.devices import free_memory
from fsb.training.setup import Parts
from fsb.training.step import Recipe, TrainState, estimate, first_state, gradient_statistics, step
from fsb.types import Array, PyTree

COPIES = 16
"""Estimated memory of a member, in copies of its state."""


class Block(NamedTuple):
    """Members that are trained side by side.

    parts: of the first member; the others differ from it in the values alone.
    members: their names, configurations and values.
    settings: for each swept key but the seed, its values [M].
    seeds: uint32 [M].
    """

    parts: Parts
    members: Sequence[Member]
    settings: dict[str, Array]
    seeds: Array

    def part(self, which: slice) -> Block:
        """Some of the members."""
        members = self.members[which]
        parts = self.parts._replace(seed=int(self.seeds[which][0]))
        settings = {name: x[which] for name, x in self.settings.items()}
        return Block(parts, members, settings, self.seeds[which])

    def of(self, index: int) -> Parts:
        """The parts of one member; its recipe serves for evaluation, not for training."""
        return self.parts._replace(seed=int(self.seeds[index]))


def block(parts: Parts, members: Sequence[Member]) -> Block:
    names = [name for name in members[0].values if name != "seed"]
    settings = {name: jnp.float32([m.values[name] for m in members]) for name in names}
    return Block(parts, members, settings, jnp.uint32([m.config.seed for m in members]))


class Programs:
    """The compiled functions of a sweep; every argument has the axis of the members first."""

    def __init__(self, together: Block):
        parts, config = together.parts, together.members[0].config
        mesh = parts.recipe.layout.replicated.mesh
        spread = mesh.size > 1 and len(together.members) % mesh.size == 0
        self._put = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0] if spread else None))
        axis = self._put.spec[0]
        self._rows = NamedSharding(mesh, PartitionSpec(None, axis))
        # Devices share the members, not the examples of a batch.
        alone = parts.recipe._replace(
            layout=parts.recipe.layout._replace(batched=parts.recipe.layout.replicated)
        )
        over = functools.partial(jax.vmap, spmd_axis_name=mesh.axis_names[0] if spread else None)

        def recipe(values: PyTree) -> Recipe:
            make = lambda key: build(config, key, traced=values)
            home = {name.partition(".")[0] for name in values}
            return alone._replace(**{key: make(key) for key in sorted(home)})

        def first(values: PyTree, seeds: Array, images: Array, mean: Array) -> TrainState:
            return over(lambda v, seed: first_state(recipe(v), seed, images, mean))(values, seeds)

        def estimates(values: PyTree, states: TrainState, images: Array) -> PyTree:
            one = lambda v, s: estimate(recipe(v), s, images, s.key)
            return over(one)(values, states)

        def run(values: PyTree, states: TrainState, images: Array, rows: Array, count: Any) -> Any:
            def one(v, state, rows):
                return step(recipe(v), state, jnp.take(images, rows, axis=0))

            def body(i, states):
                tied = (rows[i], states.step, states.constants)  # as in run_steps
                now, number, constants = jax.lax.optimization_barrier(tied)
                after = over(one)(values, states._replace(step=number, constants=constants), now)
                return after._replace(constants=states.constants)

            return jax.lax.fori_loop(0, count, body, states)

        def statistics(
            values: PyTree, state: TrainState, images: Array, key: Array, draws: int
        ) -> PyTree:
            # The jitted function would keep a recipe that holds tracers.
            return inspect.unwrap(gradient_statistics)(recipe(values), state, images, key, draws)

        self.first, self.run = jax.jit(first), jax.jit(run, donate_argnums=1)
        self.estimates, self.statistics = estimates, jax.jit(statistics, static_argnums=4)

    def put_rows(self, rows: np.ndarray) -> Array:
        """Of each step, the images of every member [steps, M, B]."""
        return jax.device_put(rows, self._rows)

    def put(self, tree: PyTree) -> PyTree:
        """Spreads members over the devices, where their number allows it."""
        return jax.tree.map(lambda x: jax.device_put(x, self._put), tree)


def try_members(together: Block) -> None:
    """Traces one step of all members; nothing is computed.

    Raises:
      FsbError: if a setting is part of the program, such as a number of draws.
    """
    programs, parts = Programs(together), together.parts
    mean = jax.ShapeDtypeStruct(parts.data.shape, "float32")

    def one_step(values, seeds, images, mean):
        states = programs.first(values, seeds, images, mean)
        return programs.estimates(values, states, images)

    try:
        jax.eval_shape(one_step, together.settings, together.seeds, parts.probe, mean)
    except FsbError:
        raise
    except (TypeError, ValueError, IndexError) as error:  # JAX's errors of tracers are among them
        keys = ", ".join(together.settings)
        raise FsbError(
            f"members: the program depends on a value of {keys}: sweep it with --multirun "
            f"({first_line(error)[:100]})"
        ) from error


def blocks(together: Block) -> list[Block]:
    """The members in blocks that are trained side by side, as large as memory allows.

    What a member needs is estimated from its state: several copies of it, and of the values of a
    batch, of which there are about as many as parameters in the networks of this library.
    """
    parts = together.parts
    state = jax.eval_shape(
        lambda images, mean: first_state(parts.recipe, parts.seed, images, mean),
        parts.probe,
        jax.ShapeDtypeStruct(parts.data.shape, "float32"),
    )
    one = COPIES * sum(leaf.size * 4 for leaf in jax.tree.leaves(state))
    count = len(together.members)
    size = max(1, min(count, int(free_memory() * parts.recipe.layout.size / 2 / one)))
    return [together.part(slice(at, at + size)) for at in range(0, count, size)]


def batches(together: Block, chunk: int) -> Callable[[int, int], np.ndarray]:
    """``batches(start, steps) -> int32 [chunk, M, B]``: the images of each member's steps."""
    data, size = together.parts.data, together.parts.batch_size
    members = range(len(together.members))
    orders = [order(together.of(i).key("order"), len(data.train), size) for i in members]

    def rows(start: int, steps: int) -> np.ndarray:
        found = np.zeros((chunk, len(orders), size), np.int32)
        for at in range(steps):
            found[at] = [one(start + at) for one in orders]
        return found

    return rows


def member_state(states: TrainState, index: int, parts: Parts) -> TrainState:
    """The state of one member, as a run of its own has it."""

    def one(x: Any) -> Any:
        return jax.device_put(x[index], parts.recipe.layout.replicated)

    return jax.tree.map(one, states)
