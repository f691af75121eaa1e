"""The train step of ``fsb.bench`` in plain PyTorch, eager or compiled, for comparison only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

DELTA = 0.1


class FouST(torch.autograd.Function):
    """The rule of ``fsb.foust`` for units in {-1, 1}."""

    @staticmethod
    def forward(ctx: Any, eta: Tensor) -> Tensor:
        u = torch.rand_like(eta)
        p = torch.sigmoid(eta)
        up = u < p
        sign = up.to(eta.dtype) * 2 - 1
        again = torch.where(up, u, u - p) / torch.where(up, p, 1 - p)
        ctx.save_for_backward(eta, sign)
        return sign * (1 - DELTA * again)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        eta, sign = ctx.saved_tensors
        return g * torch.sigmoid(-sign * eta)


def mlp(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Two tanh layers and a linear one."""
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.Tanh(),
        nn.Linear(width, width),
        nn.Tanh(),
        nn.Linear(width, outputs),
    )


def cross_entropy(eta: Tensor, z: Tensor) -> Tensor:
    """-log p(z) of units in {-1, 1}, linear in z, [B]."""
    b = (z + 1) / 2
    return (F.softplus(eta) - b * eta).sum(-1)


def entropy(eta: Tensor) -> Tensor:
    return (F.softplus(eta) - eta * torch.sigmoid(eta)).sum(-1)


class VAE(nn.Module):
    """The network of ``fsb.networks.vae`` with two tanh layers before every stochastic one."""

    def __init__(self, pixels: int, layers: int, width: int, mean: Tensor):
        super().__init__()
        self.mean = mean
        self.offset = torch.logit(mean.clamp(1e-3, 1 - 1e-3))
        self.up = nn.ModuleList(mlp(width if i else pixels, width, width) for i in range(layers))
        self.down = nn.ModuleList(mlp(width, width, width if i else pixels) for i in range(layers))
        self.prior = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """-ELBO of x [B, pixels], [B]."""
        h, loss = x - self.mean, 0.0
        values = []
        for up in self.up:
            eta = up(h)
            h = draw(eta)
            values.append(h)
            loss = loss - entropy(eta)
        for i, z in enumerate(values[:-1]):
            loss = loss + cross_entropy(self.down[i + 1](values[i + 1]), z)
        loss = loss + cross_entropy(self.prior, values[-1])
        logits = self.down[0](values[0]) + self.offset
        return loss + F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


def train_chunk(config: Any, images: np.ndarray, compiled: bool = False) -> Callable[[], None]:
    """``steps`` train steps with FouST; ``compiled`` is ``torch.compile`` of the loss."""
    model = network(config, images)
    loss = lambda x: model(x, FouST.apply).mean()
    if compiled:
        loss = torch.compile(loss)
    return chunk_of(config, images, model, lambda x: loss(x).backward())


def network(config: Any, images: np.ndarray) -> VAE:
    """The VAE that the configuration describes, with the same parameters at every call."""
    torch.manual_seed(0)
    pixels = images[0].size
    return VAE(pixels, config.layers, config.width, torch.full((pixels,), 0.5))


def chunk_of(
    config: Any, images: np.ndarray, model: VAE, backward: Callable[[Tensor], Any]
) -> Callable[[], None]:
    """``steps`` train steps: dynamic binarisation, ``backward(x)``, SGD with momentum."""
    pixels = torch.from_numpy(images.reshape(len(images), -1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def chunk() -> None:
        for _ in range(config.steps):
            rows = torch.randint(len(pixels), (config.batch_size,))
            x = torch.bernoulli(pixels[rows] / 255)
            optimizer.zero_grad()
            backward(x)
            optimizer.step()

    return chunk
