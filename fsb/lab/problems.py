"""Losses on which estimators are measured: python -m fsb.lab problem=<name>."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fsb.cli.modules import from_file
from fsb.constraints import Count, Natural, Seed
from fsb.distributions import Bernoulli, Categorical
from fsb.errors import FsbError
from fsb.networks import BernoulliLikelihood, vae
from fsb.objectives import elbo
from fsb.storage.checkpoints import Checkpoints
from fsb.storage.provenance import factory_name
from fsb.training.setup import reopen
from fsb.types import Array, Loss, PyTree


class Problem(NamedTuple):
    """A loss and the params at which estimators are measured.

    loss: ``loss(params, sample) -> losses [B]``.
    points: the params by step: several along a training run, otherwise one at step 0.
    title: what it is, where its settings do not say so.
    """

    loss: Loss
    points: dict[int, PyTree]
    title: str = ""


def toy(target: float = 0.45, logit: float = 0.0) -> Problem:
    """One Boolean unit: E (b - t)^2, whose gradient p (1 - p) (1 - 2t) vanishes at t = 1/2.

    Source: Tucker et al. 2017 (REBAR), arXiv:1703.07370 (t = 0.45, 0.49); Grathwohl et al. 2018
    (RELAX), arXiv:1711.00123 (t = 0.499).

    >>> losses = toy(0.45).loss(jnp.zeros((1, 1)), lambda name, dist, eta: dist.encode(1 + eta))
    >>> round(losses.item(), 4)
    0.3025
    """

    def loss(eta, sample):
        return ((sample("b", Bernoulli(), eta) - target) ** 2).sum(-1)

    return Problem(loss, {0: jnp.full((1, 1), logit)})


def polynomial(
    power: float = 3.0, target: float = 0.45, units: Count = 4, seed: Seed = 0
) -> Problem:
    """sum_i |b_i - t|^c at random logits, for one or several units.

    Source: Liu et al. 2023 (ReinMax), arXiv:2304.08612, with c in {1.5, 2, 3}.
    """

    def loss(eta, sample):
        return (jnp.abs(sample("b", Bernoulli(), eta) - target) ** power).sum(-1)

    eta = np.random.default_rng(seed).normal(size=(1, units))
    return Problem(loss, {0: jnp.float32(eta)})


def mlp(
    units: Count = 6, values: Count = 2, layers: Count = 1, hidden: Count = 16, seed: Seed = 0
) -> Problem:
    """A random tanh network on one or more stochastic layers.

    Args:
      units: the number of units in a layer.
      values: of each unit; 2 makes Boolean units in {-1, 1}, more make categorical ones.
      layers: the number of stochastic layers, each feeding the next.
      hidden: the number of units in each tanh layer.
      seed: of the random weights.
    """
    if min(units, layers, hidden) < 1 or values < 2:
        raise FsbError(
            f"mlp: units={units}, values={values}, layers={layers}, hidden={hidden}: "
            "values must be at least 2, the others at least 1"
        )
    dist = Bernoulli(-1.0, 1.0) if values == 2 else Categorical()
    shape = (1, units) if values == 2 else (1, units, values)
    size = int(np.prod(shape))
    rng = np.random.default_rng(seed)
    params = {"eta": rng.normal(size=shape)}
    for layer in range(1, layers + 1):
        params[f"in{layer}"] = rng.normal(size=(size, hidden)) / np.sqrt(units)
        outputs = size if layer < layers else 1
        params[f"out{layer}"] = 2 * rng.normal(size=(hidden, outputs)) / np.sqrt(hidden)

    def loss(params, sample):
        eta = params["eta"]
        for layer in range(1, layers + 1):
            z = sample(f"z{layer}", dist, eta.reshape(shape)).reshape(1, size)
            eta = jnp.tanh(z @ params[f"in{layer}"]) @ params[f"out{layer}"]
        return eta[:, 0]

    return Problem(loss, {0: jax.tree.map(jnp.float32, params)})


def sbn(
    layers: Count = 2,
    width: Count = 4,
    batch_size: Count = 4,
    hidden: Natural = 0,
    side: Count = 4,
    seed: Seed = 0,
) -> Problem:
    """The -ELBO of a sigmoid belief net with random weights, on random square images.

    Args:
      layers, width, hidden: as in ``fsb.networks.vae``.
      batch_size: the number of images.
      side: the height and width of an image, in pixels.
      seed: of the weights and the images.
    """
    model = vae((side, side), BernoulliLikelihood(), layers=layers, width=width, hidden=hidden)
    x = jnp.float32(np.random.default_rng(seed).integers(0, 2, (batch_size, side, side)))
    objective = elbo()
    first = lambda key: model.init(key, x, lambda name, dist, eta: dist.mean(eta))
    variables = jax.jit(first)(jax.random.key(seed))
    constants = {"mean": jnp.full((side, side), 0.5)}

    def loss(params, sample):
        evidence: Any = model.apply({"params": params, "constants": constants}, x, sample)
        return objective(evidence)

    return Problem(loss, {0: variables["params"]})


def run(
    run: str,
    checkpoints: Any = "last",
    batch_size: Count = 128,
    data_root: str | None = None,
    modules: list[str] | None = None,
) -> Problem:
    """The training loss of a run on one batch of its data, at its checkpoints.

    Args:
      run: the run folder.
      checkpoints: "last", "all" (``keep_last`` says how many a run keeps), or a list of steps.
      batch_size: how many of the training images to take, from the first on.
      data_root: where the data are, if they have moved.
      modules: your own modules that the configuration of the run may name.
    """
    config, parts = reopen(run, 1, data_root, modules or (), batch_size)
    store = Checkpoints(Path(run) / "checkpoints")
    steps = _steps(checkpoints, store.steps(), run)
    states = {step: store.restore(parts.first_state(), step)[0] for step in steps}
    state = states[steps[-1]]
    x = parts.recipe.preprocess(parts.key("lab"), jnp.asarray(parts.probe))
    loss = parts.recipe.loss(state.constants, x, state.step)
    net, trained = factory_name(config.model), factory_name(config.estimator)
    title = f"{net} on {parts.data.name}, trained with {trained}, step {steps[-1]}"
    return Problem(loss, {step: state.params for step, state in states.items()}, title)


def _steps(wanted: Any, there: list[int], run: str) -> list[int]:
    if not there:
        raise FsbError(f"{run}: it holds no checkpoint yet")
    if wanted in ("last", "all"):
        return there if wanted == "all" else there[-1:]
    if not isinstance(wanted, list) or not wanted or not set(wanted) <= set(there):
        have = ", ".join(map(str, there))
        raise FsbError(f"checkpoints={wanted}: choose last, all, or some of [{have}]")
    return sorted(wanted)


def file(function: str, params: str | None = None) -> Problem:
    """A loss of your own, from a Python file.

    Args:
      function: "path/to/file.py:loss", a function ``loss(params, sample) -> losses [B]``.
      params: "path/to/file.py:name" of its params, or of a function without arguments that returns
        them; by default ``params`` in the same file.
    """
    loss = from_file(function, "problem.function")
    start = from_file(params or f"{function.rpartition(':')[0]}:params", "problem.params")
    if not callable(loss):
        raise FsbError(f"problem.function={function}: it is not a function")
    values: Array | PyTree = start() if callable(start) else start
    return Problem(loss, {0: jax.tree.map(jnp.asarray, values)})
