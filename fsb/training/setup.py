"""From a checked configuration to the parts of a run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import jax
import numpy as np
import optax
from omegaconf import DictConfig, OmegaConf

from fsb.cli.factory import build
from fsb.cli.saved import load_run_config
from fsb.cli.schema import Train
from fsb.data import Dataset, feed
from fsb.errors import FsbError, unknown
from fsb.networks import (
    BernoulliLikelihood,
    DiscretizedGaussianLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
    Likelihood,
)
from fsb.runtime.devices import Layout, layout
from fsb.runtime.processes import join
from fsb.sites import site_key
from fsb.training.step import Recipe, TrainState, estimate, first_state
from fsb.types import Array

LIKELIHOODS: dict[str, tuple[type[Likelihood], tuple[str, ...]]] = {
    "bernoulli": (BernoulliLikelihood, ("dynamic", "static", "threshold")),
    "gaussian": (GaussianLikelihood, ("dequantised",)),
    "discretized_logistic": (DiscretizedLogisticLikelihood, ("levels",)),
    "discretized_gaussian": (DiscretizedGaussianLikelihood, ("levels",)),
}
"""For each likelihood, the values of data.binarisation that it fits."""

RECIPE = ["model", "objective", "estimator", "optimizer", "control_optimizer"]
RECIPE += ["likelihood", "modules"]
"""The keys of a configuration that a recipe depends on, with the data."""

KEPT = 8
"""Recipes whose programs are kept for later jobs of a sweep."""

ONCE = {"xla_backend_optimization_level": 1}
"""For a program that runs once: a fraction of the time to compile, and the same numbers."""


class Parts(NamedTuple):
    """The parts of a run.

    data: the images.
    recipe: the pure functions of a train step.
    batch_size: examples per step, over all devices.
    seed: of all noise.
    """

    data: Dataset
    recipe: Recipe
    batch_size: int
    seed: int

    def first_state(self) -> TrainState:
        """The state before the first step, replicated on every device."""
        start, given = self._start()
        return start(*given)

    def state_shapes(self) -> TrainState:
        """The shapes of a state; nothing is computed."""
        start, given = self._start()
        return start.eval_shape(*given)

    def _start(self) -> tuple[Any, tuple[Any, ...]]:
        mesh = self.recipe.layout
        # Inside jit, because a key that spans several processes can only be made there.
        start = jax.jit(
            first_state,
            static_argnums=0,
            out_shardings=mesh.replicated,
            compiler_options=ONCE if jax.default_backend() == "cpu" else None,
        )
        mean = mesh.replicate(self.data.mean)
        return start, (self.recipe, np.uint32(self.seed), mesh.split(self.probe), mean)

    def key(self, purpose: str) -> Array:
        """The key for a purpose outside the train steps, such as "order"."""
        return site_key(jax.random.key(self.seed), purpose)

    def feed(self, steps_per_call: int) -> Any:
        """The training images in the order of the steps; see ``fsb.data.feed``."""
        mesh = self.recipe.layout
        return feed(self.data.train, self.key("order"), self.batch_size, steps_per_call, mesh=mesh)

    @property
    def probe(self) -> np.ndarray:
        """The first batch of the training images."""
        return self.data.train[: self.batch_size]


def assemble(
    config: DictConfig, batch_size: int | None = None, data: Dataset | None = None
) -> Parts:
    """Builds the parts that a training configuration names.

    Args:
      config: the checked configuration.
      batch_size: overrides that of the configuration.
      data: overrides those of the configuration.

    Raises:
      FsbError: if a part cannot be built, the data are missing, or the batch size does not suit
        the data or the devices.
    """
    join(**config.distributed)
    mesh = layout(config.devices)
    batch_size = batch_size or config.batch_size
    if batch_size % mesh.size:
        raise FsbError(f"batch_size={batch_size}: must be a multiple of the {mesh.size} devices")
    data = data or build(config, "data")
    if batch_size > len(data.train):
        raise FsbError(
            f"batch_size={batch_size}: {data.name} has {len(data.train)} training images"
        )
    settings = OmegaConf.to_yaml(OmegaConf.masked_copy(config, [*RECIPE]))
    natural, preprocess = data.preprocess.likelihood, data.preprocess.apply
    if config.modules:  # the user's own code may have changed since the last job
        _recipe.cache_clear()
    recipe = _recipe(settings, data.shape, natural, preprocess, mesh)
    return Parts(data, recipe, batch_size, config.seed)


@functools.lru_cache(maxsize=KEPT)
def _recipe(
    settings: str, shape: tuple[int, ...], natural: str, preprocess: Callable, mesh: Layout
) -> Recipe:
    """The recipe of these settings; jobs of a sweep that share it share its programs as well."""
    if _recipe.cache_info().misses % KEPT == 1:
        jax.clear_caches()  # programs of recipes that are gone
    config = cast(DictConfig, OmegaConf.create(settings))
    likelihood = _likelihood(config.get("likelihood"), natural)
    return Recipe(
        model=build(config, "model", shape, likelihood),
        objective=build(config, "objective"),
        preprocess=preprocess,
        estimator=build(config, "estimator"),
        optimizer=build(config, "optimizer"),
        control_optimizer=_control_optimizer(config),
        layout=mesh,
    )


def reopen(
    run: str,
    devices: int | None = 1,
    data_root: str | None = None,
    modules: Iterable[str] = (),
    batch_size: int | None = None,
) -> tuple[DictConfig, Parts]:
    """The configuration and the parts of an existing run, to evaluate it.

    Args:
      run: the run folder.
      devices: how many to use; None takes all. The batch size is rounded down to suit them.
      data_root: where the data are, if they have moved.
      modules: the user's own modules that the configuration may name.
      batch_size: overrides that of the run.

    Raises:
      FsbError: if there is no such run, or a part of it cannot be built.
    """
    saved = load_run_config(run, Train, modules)
    OmegaConf.set_struct(saved, False)
    saved.devices = devices
    saved.distributed = {"coordinator": None, "num_processes": 1, "process_id": 0}
    if data_root is not None:
        saved.data.root = data_root
    count = layout(devices).size
    return saved, assemble(saved, max(1, (batch_size or saved.batch_size) // count) * count)


def try_step(parts: Parts) -> None:
    """Traces one train step on shapes; nothing is computed.

    Raises:
      FsbError: if the estimator cannot serve the model.
    """

    mean = jax.ShapeDtypeStruct(parts.data.shape, "float32")
    _first_estimate.eval_shape(parts.recipe, np.uint32(parts.seed), parts.probe, mean)


@functools.partial(jax.jit, static_argnums=0)
def _first_estimate(recipe: Recipe, seed: Array, images: Array, mean: Array) -> Any:
    state = first_state(recipe, seed, images, mean)
    return estimate(recipe, state, images, state.key)


def _likelihood(name: str | None, natural: str) -> Likelihood:
    """The likelihood called ``name``, by default the natural one of the data.

    The density of undithered levels is unbounded, and a byte's probability mass is not a bit's, so
    a likelihood is refused where the binarisation does not match.
    """
    name = name or natural
    if name not in LIKELIHOODS:
        raise unknown("likelihood", name, LIKELIHOODS)
    factory, binarisations = LIKELIHOODS[name]
    if binarisations != LIKELIHOODS[natural][1]:
        raise FsbError(
            f"likelihood={name}: it needs data.binarisation={' or '.join(binarisations)}"
        )
    return factory()


def _control_optimizer(config: DictConfig) -> optax.GradientTransformation:
    """The optimiser of the control parameters; runs made before the key existed used Adam."""
    if config.get("control_optimizer") is None:
        return optax.adam(1e-3)
    return build(config, "control_optimizer")
