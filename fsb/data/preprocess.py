"""Preprocessing: how stored 8-bit images become the input of a training step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from fsb.errors import unknown
from fsb.runtime.random import bits, uniform
from fsb.types import Array


class Preprocess(NamedTuple):
    """How stored bytes become the ``x`` of a model.

    apply: ``apply(key, images uint8 [B, ...]) -> x float32 [B, ...]``; pure and jittable, with
      fresh noise from ``key`` at every access; the same object for the same preprocessing, so that
      it is compiled once.
    expect: ``expect(images) -> E[x]``, from uint8 to float32 NumPy arrays, for the data mean.
    likelihood: the natural likelihood of x: "bernoulli", "gaussian" or "discretized_logistic".
    bits_offset: bits/dim = -ELBO / (D ln 2) + bits_offset; None if bits do not apply.
    store: ``store(images, split number) -> images``, applied once before the images are cached.
    """

    apply: Callable[[Array, Array], Array]
    expect: Callable[[np.ndarray], np.ndarray]
    likelihood: str
    bits_offset: float | None
    store: Callable[[np.ndarray, int], np.ndarray] = lambda images, split: images


def dynamic() -> Preprocess:
    """Samples a grey level k from Bernoulli(k / 255) at every access.

    >>> import jax
    >>> x = dynamic().apply(jax.random.key(0), jnp.array([[0, 255]], jnp.uint8))
    >>> x.tolist()
    [[0.0, 1.0]]
    """
    return Preprocess(_bernoulli, lambda k: (k / 255.0).astype(np.float32), "bernoulli", None)


def threshold() -> Preprocess:
    """x = 1 where k > 127, else 0; deterministic."""
    return Preprocess(
        _threshold,
        lambda k: (k > 127).astype(np.float32),
        "bernoulli",
        None,
    )


def static(seed: int = 0) -> Preprocess:
    """Samples Bernoulli(k / 255) once, with ``seed``, when the images are cached.

    Images that are already binary (0 and 255 only) are not changed.
    """

    def store(images: np.ndarray, split: int) -> np.ndarray:
        # RandomState is the only NumPy generator with a stream guaranteed never to change.
        draw = np.random.RandomState([seed, split])
        out = np.empty_like(images)
        for at in range(0, len(images), 4096):
            part = images[at : at + 4096]
            out[at : at + 4096] = (draw.random_sample(part.shape) * 255 < part) * np.uint8(255)
        return out

    return threshold()._replace(store=store)


def dequantised() -> Preprocess:
    """y = (k + u) / 256 with u ~ U[0, 1): its density on [0, 1) bounds the mass of the bytes.

    log P(k) >= E_u log p(y) - D log 256, hence the offset of 8 bits per dimension.
    """
    return Preprocess(
        _dequantised,
        lambda k: ((k + 0.5) / 256.0).astype(np.float32),
        "gaussian",
        8.0,
    )


def levels() -> Preprocess:
    """x = (k + 1/2) / 256, the middle of its level's bin; deterministic.

    For discretised likelihoods, whose log mass is that of the bytes: the offset is 0 bits.

    >>> import jax
    >>> x = levels().apply(jax.random.key(0), jnp.array([[0, 255]], jnp.uint8))
    >>> (256 * x).tolist()
    [[0.5, 255.5]]
    """
    return Preprocess(
        _levels,
        lambda k: ((k + 0.5) / 256.0).astype(np.float32),
        "discretized_logistic",
        0.0,
    )


Binarisation = Literal["dynamic", "static", "threshold", "dequantised", "levels"]


def choose(name: str, seed: int = 0) -> Preprocess:
    """The preprocessing called ``name``; ``seed`` is used by "static" only.

    Raises:
      FsbError: if there is none of that name.

    >>> choose("dequantised").bits_offset
    8.0
    """
    factories: dict[str, Callable[[], Preprocess]] = {
        "dynamic": dynamic,
        "static": partial(static, seed),
        "threshold": threshold,
        "dequantised": dequantised,
        "levels": levels,
    }
    if name not in factories:
        raise unknown("data.binarisation", name, factories)
    return factories[name]()


def _threshold(key: Array, k: Array) -> Array:
    return (k > 127).astype(jnp.float32)


def _dequantised(key: Array, k: Array) -> Array:
    return (k.astype(jnp.float32) + uniform(key, k.shape)) / 256.0


def _levels(key: Array, k: Array) -> Array:
    return (k.astype(jnp.float32) + 0.5) / 256.0


def _bernoulli(key: Array, images: Array) -> Array:
    # One 32-bit word covers two pixels: 16 bits give k/255 to 1e-5, and exactly at 0 and 255.
    # Using half as many random words makes a step of a small network about 10 % faster.
    batch, pixels = images.shape[0], int(np.prod(images.shape[1:]))
    words = bits(key, (batch, (pixels + 1) // 2))
    halves = jnp.concatenate([words & 0xFFFF, words >> 16], axis=1)[:, :pixels]
    # u < k 65536 / 255, rounded, in integer arithmetic.
    drawn = halves.reshape(images.shape) * 255 + 127 < images.astype(jnp.uint32) << 16
    return drawn.astype(jnp.float32)
