"""The three main nets, and their train step as the compiler made it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
from omegaconf import DictConfig

from fsb.bench.variants import SHAPE, recipe_of
from fsb.data.preprocess import Preprocess, dequantised, dynamic
from fsb.errors import unknown
from fsb.estimators import foust
from fsb.networks import BernoulliLikelihood, GaussianLikelihood, sresnet, vae
from fsb.training.step import first_state, step

Net = tuple[Any, Preprocess]


def _vae(config: DictConfig) -> Net:
    net = vae(SHAPE, BernoulliLikelihood(), layers=config.layers, width=config.width)
    return net, dynamic()


def _linear_disarm_vae(config: DictConfig) -> Net:
    sizes = {"layers": 1, "width": config.width, "hidden": 0}
    return vae(SHAPE, BernoulliLikelihood(), activation="leaky_relu", **sizes), dynamic()


def _sresnet80(config: DictConfig) -> Net:
    return sresnet((64, 64, 3), GaussianLikelihood()), dequantised()


NETS: dict[str, Callable[[DictConfig], Net]] = {
    "vae": _vae,
    "linear_disarm_vae": _linear_disarm_vae,
    "sresnet80": _sresnet80,
}
"""By name: ``layers`` times ``width``; one linear layer; S-ResNet-80-11-256 on 64 x 64 images."""


def require_nets(names: Iterable[str]) -> None:
    """Raises FsbError if a name is not in ``NETS``."""
    for number, name in enumerate(names):
        if name not in NETS:
            raise unknown(f"nets[{number}]", name, NETS)


def compiled_step(config: DictConfig, name: str) -> Any:
    """FouST's train step of a net on ``batch_size`` images, compiled; nothing is computed."""
    model, preprocess = NETS[name](config)
    recipe = recipe_of(foust(), model, preprocess)
    images = jax.ShapeDtypeStruct((config.batch_size, *model.shape), "uint8")
    mean = jax.ShapeDtypeStruct(model.shape, "float32")
    state = jax.eval_shape(lambda x, mean: first_state(recipe, 0, x, mean), images, mean)
    program = jax.jit(step, static_argnums=0, donate_argnums=1)
    return program.lower(recipe, state, images).compile()
