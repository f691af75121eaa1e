"""The train step of ``fsb.bench`` with Gumbel-Softmax in Storchastic, for comparison only.

Storchastic: van Krieken, Tomczak & ten Teije 2021, arXiv:2104.00428.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import storch
from storch.method import GumbelSoftmax
from torch import Tensor
from torch.distributions import Bernoulli

from fsb.bench.pytorch import chunk_of, network

TEMPERATURE = 0.5


def train_chunk(config: Any, images: np.ndarray) -> Callable[[], None]:
    """``steps`` train steps; the units of ``fsb.gumbel_softmax`` at its default temperature."""
    model = network(config, images)
    settings = {"initial_temperature": TEMPERATURE, "annealing_rate": 0.0}
    methods = [GumbelSoftmax(f"z{i}", **settings) for i in range(config.layers)]

    def backward(x: Tensor) -> None:
        turn = iter(methods)
        draw = lambda eta: 2 * next(turn)(Bernoulli(logits=eta)) - 1
        storch.add_cost(model(storch.denote_independent(x, 0, "batch"), draw), "loss")
        storch.backward()

    return chunk_of(config, images, model, backward)
