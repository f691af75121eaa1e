"""The net with binary weights, and MNIST with its labels."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fsb.data import mnist
from fsb.data.readers import read_bytes
from fsb.errors import FsbError
from fsb.types import Array

TRAIN = 50_000  # N


class Data(NamedTuple):
    """Pixels in [0, 1] [N, 784] and classes [N]."""

    x: Array
    y: Array


def load() -> dict[str, Data]:
    """The images of ``fsb.data.mnist`` with the labels from the files beside them."""
    data = mnist()

    def labels(file: str) -> np.ndarray:
        found = sorted(Path(data.source).glob(f"{file}*"))
        if not found:
            raise FsbError(f"{data.source}: there is no {file}[.gz]; set FSB_DATA to the idx files")
        return np.frombuffer(read_bytes(found[0]), np.uint8, offset=8)

    def flat(images: np.ndarray, y: np.ndarray) -> Data:
        return Data(jnp.float32(images.reshape(len(images), -1)) / 255, jnp.int32(y[: len(images)]))

    return {
        "train": flat(data.train, labels("train-labels-idx1-ubyte")),
        "test": flat(data.test, labels("t10k-labels-idx1-ubyte")),
    }


def first_signs(key: Array, width: int) -> list[Array]:
    """Random signs for the weights of 784 - width - width - width - 10."""
    sizes = (784, width, width, width, 10)
    shapes = list(itertools.pairwise(sizes))
    keys = jax.random.split(key, len(shapes))
    return [jax.random.rademacher(k, s, jnp.float32) for k, s in zip(keys, shapes, strict=True)]


def net(weights: list[Array], x: Array, moments: list | None = None) -> tuple[Array, list]:
    """Logits [B, 10], and the mean and variance by which each layer was normalised.

    Batch normalisation without affine part after every layer, the last included; its moments are
    those of the batch unless given.
    """
    used = []
    for i, w in enumerate(weights):
        x = (jax.nn.relu(x) if i else x) @ w
        mean, var = moments[i] if moments else (x.mean(0), x.var(0))
        used.append((mean, var))
        x = (x - mean) * jax.lax.rsqrt(var + 1e-4)
    return x, used


def mean_loss(weights: list[Array], batch: Data) -> Array:
    """Cross-entropy of the classes, in nats a training point."""
    logits, _ = net(weights, batch.x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch.y).mean()


@jax.jit
def accuracy(lam: list[Array], reference: Array, data: Data) -> Array:
    """Of the net with weights sign(lam), normalised by moments of the images ``reference``."""
    weights = [jnp.where(x < 0, -1.0, 1.0) for x in lam]
    _, moments = net(weights, reference)
    return (net(weights, data.x, moments)[0].argmax(-1) == data.y).mean()
