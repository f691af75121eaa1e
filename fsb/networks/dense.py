"""Dense layers between layers of stochastic units: what the nets of the papers share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from fsb.constraints import choose
from fsb.distributions import Bernoulli, Categorical
from fsb.errors import FsbError
from fsb.types import Array

MOST = 2**16  # layers, units and values: a weight matrix of more has no device to hold it
INIT = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": nn.relu,
    "leaky_relu": lambda x: nn.leaky_relu(x, 0.3),
}
Activation = Literal["tanh", "relu", "leaky_relu"]


class MLP(nn.Module):
    """``hidden_layers`` of ``width`` units each, then a linear layer to ``outputs``."""

    hidden_layers: int
    width: int
    outputs: int
    activation: Callable[[Array], Array] = jnp.tanh

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for _ in range(self.hidden_layers):
            x = self.activation(nn.Dense(self.width, kernel_init=INIT)(x))
        return nn.Dense(self.outputs, kernel_init=INIT)(x)


class Dense(NamedTuple):
    """The parts of a net: its family of units, their shape, and the layers between them.

    latent: the family of every stochastic unit.
    units: of a stochastic layer, the shape of eta without the batch: (D,) or (D, K).
    mlp: an ``MLP``, from its number of outputs.
    """

    latent: Any
    units: tuple[int, ...]
    mlp: Callable[[int], MLP]


def dense(
    layers: int,
    width: int,
    hidden: int,
    hidden_width: int | None,
    activation: str,
    values: int,
    low: float,
    high: float,
) -> Dense:
    """The parts of a net, its sizes checked; the arguments are those of ``vae``.

    Raises:
      FsbError: a size is too small, or there is no such activation.
    """
    hidden_width = width if hidden_width is None else hidden_width
    least = {"layers": 1, "width": 1, "hidden": 0, "hidden_width": 1, "values": 2}
    given = {"layers": layers, "width": width, "hidden": hidden, "hidden_width": hidden_width}
    for name, value in {**given, "values": values}.items():
        if value < least[name]:
            raise FsbError(f"model.{name}={value}: it must be at least {least[name]}")
        if value > MOST:
            raise FsbError(f"model.{name}={value}: it must be at most {MOST}")
    nonlinearity = choose("model.activation", activation, ACTIVATIONS)
    units = (width,) if values == 2 else (width, values)
    latent = Bernoulli(low, high) if values == 2 else Categorical()
    mlp = functools.partial(MLP, hidden, hidden_width, activation=nonlinearity)
    return Dense(latent, units, mlp)
