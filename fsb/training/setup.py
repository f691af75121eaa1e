"""From a checked configuration to the parts of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from omegaconf import DictConfig, OmegaConf

from fsb.cli.factory import build
from fsb.cli.saved import load_run_config
from fsb.cli.schema import Train
from fsb.data import Dataset
from fsb.errors import FsbError, unknown
from fsb.networks import (
    BernoulliLikelihood,
    DiscretizedGaussianLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
    Likelihood,
)
from fsb.runtime.devices import join, layout
from fsb.sites import site_key
from fsb.training.step import Recipe, TrainState, estimate, first_state
from fsb.types import Array

LIKELIHOODS: dict[str, tuple[type[Likelihood], tuple[str, ...]]] = {
    "bernoulli": (BernoulliLikelihood, ("dynamic", "static", "threshold")),
    "gaussian": (GaussianLikelihood, ("dequantised",)),
    "discretized_logistic": (DiscretizedLogisticLikelihood, ("levels",)),
    "discretized_gaussian": (DiscretizedGaussianLikelihood, ("levels",)),
}
"""Of each likelihood, the values of data.binarisation that it is one of."""


class Parts(NamedTuple):
    """A run, ready to start.

    data: the images.
    recipe: the pure functions of its step.
    batch_size: examples of a step, over all devices.
    seed: of all its noise.
    """

    data: Dataset
    recipe: Recipe
    batch_size: int
    seed: int

    def first_state(self) -> TrainState:
        """The state before the first step, on every device."""
        layout = self.recipe.layout
        # Inside jit, for a key that spans several processes can only be made there.
        start = jax.jit(first_state, static_argnums=(0, 1), out_shardings=layout.replicated)
        mean = layout.replicate(self.data.mean)
        return start(self.recipe, self.seed, layout.split(self.probe), mean)

    def key(self, purpose: str) -> Array:
        """The key of the run for a purpose beside the steps, such as "order"."""
        return site_key(jax.random.key(self.seed), purpose)

    @property
    def probe(self) -> np.ndarray:
        """The first training images, one batch of them."""
        return self.data.train[: self.batch_size]


def assemble(config: DictConfig, batch_size: int | None = None) -> Parts:
    """Builds what a training configuration names.

    Args:
      batch_size: in place of the configuration's.

    Raises:
      FsbError: a part cannot be built, or the parts do not fit together: the data are not there,
        the batch does not suit the data or the devices.
    """
    join(**config.distributed)
    mesh = layout(config.devices)
    batch_size = batch_size or config.batch_size
    if batch_size % mesh.size:
        raise FsbError(f"batch_size={batch_size}: must be a multiple of the {mesh.size} devices")
    data = _part(config, "data")
    if batch_size > len(data.train):
        raise FsbError(
            f"batch_size={batch_size}: {data.name} has {len(data.train)} training images"
        )
    likelihood = _likelihood(config.get("likelihood"), data.preprocess.likelihood)
    recipe = Recipe(
        model=_part(config, "model", data.shape, likelihood),
        objective=_part(config, "objective"),
        preprocess=data.preprocess.apply,
        estimator=_part(config, "estimator"),
        optimizer=_part(config, "optimizer"),
        control_optimizer=_control_optimizer(config),
        layout=mesh,
    )
    return Parts(data, recipe, batch_size, config.seed)


def reopen(
    run: str,
    devices: int | None = 1,
    data_root: str | None = None,
    modules: Iterable[str] = (),
    batch_size: int | None = None,
) -> tuple[DictConfig, Parts]:
    """The configuration of a run and its parts, to look at: nothing is trained.

    Args:
      run: its folder.
      devices: to use, all with None; the batch is made to suit them.
      data_root: where the data is, if not where the run found it.
      modules: your own modules, whose functions the run's configuration may name.
      batch_size: in place of the run's.
    """
    saved = load_run_config(run, Train, modules)
    OmegaConf.set_struct(saved, False)
    saved.devices = devices
    saved.distributed = {"coordinator": None, "num_processes": 1, "process_id": 0}
    if data_root is not None:
        saved.data.root = data_root
    count = layout(devices).size
    return saved, assemble(saved, max(1, (batch_size or saved.batch_size) // count) * count)


def _part(config: DictConfig, name: str, *args: Any) -> Any:
    """What the group ``name`` of the configuration describes."""
    return build(config, name, *args)


def _likelihood(name: str | None, natural: str) -> Likelihood:
    """The likelihood called ``name``, if it suits data whose own is ``natural``; that by default.

    A density of undithered levels has no upper bound, and the mass of a byte is none of a bit.
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
    """That of the configuration; for a run from before there was one, what it had."""
    if config.get("control_optimizer") is None:
        return optax.adam(1e-3)
    return _part(config, "control_optimizer")


def try_step(parts: Parts) -> None:
    """One step with shapes in place of arrays.

    Raises:
      FsbError: the estimator cannot serve the model.
    """

    def one_step(images, mean):
        state = first_state(parts.recipe, parts.seed, images, mean)
        return estimate(parts.recipe, state, images, state.key)

    jax.eval_shape(one_step, parts.probe, jax.ShapeDtypeStruct(parts.data.shape, "float32"))
