"""Transformations of JAX for functions that sample: scan, vmap and remat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.tree_util import tree_leaves

from fsb.errors import FsbError
from fsb.sites.record import Recorder, record
from fsb.sites.site import Block, Site
from fsb.types import Array, PyTree, Sample

Carry = TypeVar("Carry")


def scan(
    body: Callable[[Carry, Any, Sample], tuple[Carry, PyTree]],
    sample: Sample,
    init: Carry,
    xs: PyTree = None,
    length: int | None = None,
    name: str = "scan",
    transform: Callable[..., Any] = jax.lax.scan,
) -> tuple[Carry, PyTree]:
    """``jax.lax.scan`` with stochastic layers: every turn samples with its own noise.

    A site ``z`` of the body is one site ``scan/z`` [B, T, D...] of the model. The compiled program
    does not grow with T.

    Estimators: local ones, and those that weigh scores (``reinforce``, ``nvil``, ``rloo``,
    ``vimco``, ``muprop``, ``double_cv``, ``rodeo``, ``multi_sample``), cost what they cost for one
    site. Those that change the value of one site and run what lies below again (``disarm``,
    ``disarm_tree``, ``disarm_sb``, ``arm``, ``arms``, ``carms``, ``bitflip``, ``ugc``,
    ``local_expectation``, ``rebar``, ``relax``) do so for each turn, so that their cost
    grows with T squared.

    Args:
      body: ``body(carry, x, sample) -> (carry, y)``; it must use the ``sample`` that it is given.
      sample: the function that the model was given.
      init, xs, length: as in ``jax.lax.scan``.
      name: of the scan; each of a model needs its own.
      transform: called as ``transform(f, init, xs, length=length)``: ``jax.lax.scan`` or one that
        agrees with it, such as ``nnx.scan``.

    Returns:
      ``(carry, ys)`` as ``jax.lax.scan``.

    Raises:
      FsbError: if ``sample`` is not the one that the model was given, or the lengths disagree.

    >>> import jax, jax.numpy as jnp, fsb
    >>> def loss(logits, sample):
    ...     def turn(total, t, sample):
    ...         return total + sample("step", fsb.Bernoulli(-1.0, 1.0), logits)[:, 0], None
    ...     return fsb.scan(turn, sample, jnp.zeros(logits.shape[0]), jnp.arange(50))[0] ** 2
    >>> estimate = fsb.value_and_grad(fsb.reinforce(), loss)
    >>> value, grad = estimate(jnp.zeros((2000, 1)), jax.random.key(0))
    >>> bool(abs(value - 50) < 5)  # the variance of 50 independent steps
    True
    """
    outer = recorder("fsb.scan", sample, name)
    block = Block(name, turns_of(xs, length), int(outer.batched), scan=True)

    def turn(carry, given):
        x, sampler = given
        (carry, y), own = record(lambda sample: body(carry, x, sample), sampler, outer.batched)
        return carry, (y, sites_of(own), total_cost(own))

    stack = outer.sampler.block(block)
    carry, (ys, sites, costs) = transform(turn, init, (xs, stack), length=block.length)
    if costs is not None:
        outer.costs.append((len(outer.sites), jnp.moveaxis(costs, 0, block.axis), name))
    outer.add(*map(block.outside, sites))
    return carry, ys


def vmap(
    function: Callable[..., PyTree],
    sample: Sample,
    in_axes: Any = 0,
    name: str = "vmap",
) -> Callable[..., PyTree]:
    """``jax.vmap`` over examples, for a model of one example that samples.

    A site ``z`` [D...] of the function is one site ``vmap/z`` [B, D...] of the model.

    Args:
      function: ``function(*args, sample) -> outputs``; it must use the ``sample`` that it is given.
      sample: the function that the model was given.
      in_axes: as in ``jax.vmap``, for the arguments before ``sample``.
      name: of the block; each of a model needs its own.

    Returns:
      A function of the arguments; its outputs have the examples as their first axis.

    Raises:
      FsbError: if ``sample`` is not the one that the model was given.

    >>> import jax, jax.numpy as jnp, fsb
    >>> def loss(params, sample):
    ...     one = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum()
    ...     return fsb.vmap(one, sample)(params)
    >>> fsb.value_and_grad(fsb.disarm(), loss)(jnp.zeros((4, 1)), jax.random.key(0))[1].shape
    (4, 1)
    """
    outer = recorder("fsb.vmap", sample, name)
    if not outer.batched:
        raise FsbError("fsb.vmap: within another fsb.vmap; write the inner one with arrays")

    def mapped(*args):
        axes = in_axes if isinstance(in_axes, tuple | list) else (in_axes,) * len(args)
        if len(axes) != len(args):
            raise FsbError(f"fsb.vmap: {len(axes)} in_axes for {len(args)} arguments")
        block = Block(name, mapped_size(args, axes), 0, scan=False)

        def one(sampler, *args):
            out, own = record(lambda sample: function(*args, sample), sampler, batched=False)
            return out, sites_of(own), total_cost(own)

        stack = outer.sampler.block(block)
        out, sites, costs = jax.vmap(one, (0, *axes), axis_size=block.length)(stack, *args)
        outer.add(*map(block.outside, sites))
        if costs is not None:
            outer.cost(costs)
        return out

    return mapped


def remat(function: Callable[..., PyTree], sample: Sample, **options: Any) -> Callable[..., PyTree]:
    """``jax.checkpoint`` for a function that samples: it is computed again in the backward pass.

    Args:
      function: ``function(*args, sample) -> outputs``; it must use the ``sample`` that it is given.
      sample: the function that the model was given.
      options: of ``jax.checkpoint``, such as ``policy``.

    Returns:
      A function of the arguments.

    Raises:
      FsbError: if ``sample`` is not the one that the model was given.

    >>> import jax, jax.numpy as jnp, fsb
    >>> def loss(params, sample):
    ...     layer = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    ...     return fsb.remat(layer, sample)(params)
    >>> fsb.value_and_grad(fsb.st(), loss)(jnp.zeros((1, 1)), jax.random.key(0))[1].item()
    0.25
    """
    outer = recorder("fsb.remat", sample, "remat")

    def anew(*args):
        def inner(sampler, *args):
            out, own = record(lambda sample: function(*args, sample), sampler, outer.batched)
            return out, sites_of(own), total_cost(own)

        out, sites, costs = jax.checkpoint(inner, **options)(outer.sampler, *args)
        outer.add(*sites)
        if costs is not None:
            outer.cost(costs)
        return out

    return anew


def sites_of(own: Recorder) -> tuple[Site, ...]:
    """The sites of one repetition of a block."""
    if own.given is not None:
        raise FsbError(
            "sample.context: not within fsb.scan, fsb.vmap and fsb.remat; call it before"
        )
    return tuple(own.sites)


def total_cost(sample: Recorder) -> Array | None:
    """The costs of one repetition of a block, [B], or [] in a model of one example."""
    lead = int(sample.batched)
    costs = [c.reshape(*c.shape[:lead], -1).sum(-1) for _, c, _ in sample.costs]
    return sum(costs[1:], costs[0]) if costs else None


def recorder(who: str, sample: Sample, name: str) -> Recorder:
    """The recorder behind a model's ``sample``, if it may be used here."""
    if not isinstance(sample, Recorder):
        raise FsbError(
            f"{who}: sample must be the function that the loss was given, not {sample!r:.60}"
        )
    sample.check(name)
    return sample


def turns_of(xs: PyTree, length: int | None) -> int:
    """The number of turns of a scan."""
    sizes = {x.shape[0] for x in tree_leaves(xs)} | ({length} if length is not None else set())
    if len(sizes) != 1:
        found = ", ".join(map(str, sorted(sizes))) or "neither xs nor length"
        raise FsbError(f"fsb.scan: xs and length must agree on the number of turns; got {found}")
    return sizes.pop()


def mapped_size(args: tuple, axes: Any) -> int:
    """The number of examples of the mapped arguments."""
    for arg, axis in zip(args, axes, strict=True):
        if axis is not None:
            leaves = tree_leaves(arg)
            first = axis if isinstance(axis, int) else tree_leaves(axis)[0]
            if leaves:
                return leaves[0].shape[first]
    raise FsbError("fsb.vmap: no argument is mapped; give in_axes")
