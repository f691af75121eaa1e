"""Base classes for distributions over numbers and vectors."""

from __future__ import annotations

from typing import Any, ClassVar

from fsb.errors import FsbError
from fsb.types import Array, Eta, PRNGKey, Units

Pair = tuple[Units, Units]
"""Two parameters of every unit."""


class Numeric:
    """Base class for reparameterised numeric units, whose support cannot be enumerated.

    Subclasses define ``noise``, ``from_noise``, ``mean``, ``log_prob`` and ``entropy``.
    """

    reparameterized: ClassVar[bool] = True
    noise: Any
    from_noise: Any

    def sample(self, key: PRNGKey, eta: Eta) -> Array:
        return self.from_noise(self.noise(key, eta), eta)

    def decode(self, z: Array) -> Array:
        return z

    def support(self, eta: Eta) -> Array:
        name = type(self).__name__
        raise FsbError(f"{name} has infinitely many values and cannot be enumerated")


class LocationScale(Numeric):
    """Units loc + scale * noise with eta = (loc, scale), both [B, D...], scale > 0."""

    def from_noise(self, noise: Units, eta: Pair) -> Units:
        loc, scale = eta
        return loc + scale * noise.astype(loc.dtype)

    def mean(self, eta: Pair) -> Units:
        return eta[0]
