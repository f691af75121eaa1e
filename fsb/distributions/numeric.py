"""Base classes for distributions over numbers and vectors, and what they share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Float

from fsb.distributions.bernoulli import noise_dtype
from fsb.errors import FsbError
from fsb.types import Array, Eta, PRNGKey, Units

Parameter = Float[Array, "*#batch"]
"""One number per unit; an axis may be 1, or be missing at the front, as in NumPy's broadcasting."""

Pair = tuple[Parameter, Parameter]
"""Two parameters of every unit, which broadcast against each other."""


class Numeric:
    """Base class for reparameterised numeric units, whose support cannot be enumerated.

    Subclasses define ``noise``, ``from_noise``, ``mean``, ``log_prob`` and ``entropy``.
    """

    reparameterized: ClassVar[bool] = True
    parameters: ClassVar[tuple[str, ...]] = ()
    """The names in eta, where it is a tuple; one array [2, D] would be taken for two parameters."""
    noise: Any
    from_noise: Any

    def canonical(self, eta: Eta) -> Eta:
        """eta with every parameter expanded to the shape of the units.

        Raises:
          FsbError: if it is not a tuple of the ``parameters``.
        """
        require_tuple(eta, self.parameters)
        return broadcast(eta)

    def sample(self, key: PRNGKey, eta: Eta) -> Array:
        return self.from_noise(self.noise(key, eta), eta)

    def decode(self, z: Array) -> Array:
        return z

    def support(self, eta: Eta) -> Array:
        name = type(self).__name__
        raise FsbError(f"{name} has infinitely many values and cannot be enumerated")


class LocationScale(Numeric):
    """Units loc + scale * noise with eta = (loc, scale), both [B, D...], scale > 0."""

    parameters = ("loc", "scale")

    def from_noise(self, noise: Units, eta: Pair) -> Units:
        loc, scale = self.canonical(eta)
        return loc + scale * noise.astype(loc.dtype)

    def mean(self, eta: Pair) -> Units:
        return self.canonical(eta)[0]


def require_tuple(eta: Eta, parameters: tuple[str, ...]) -> None:
    """Refuses eta if it is not a tuple of these parameters; none are named where it is one array.

    Raises:
      FsbError: with what to give.
    """
    if parameters and not (isinstance(eta, tuple | list) and len(eta) == len(parameters)):
        raise FsbError(f"give eta = ({', '.join(parameters)})")


def broadcast(eta: Eta) -> Eta:
    """The leaves of eta, expanded to their common shape.

    >>> [x.shape for x in broadcast((jnp.zeros((4, 1)), jnp.ones((1, 3))))]
    [(4, 3), (4, 3)]
    """
    leaves, tree = jax.tree.flatten(eta)
    return jax.tree.unflatten(tree, jnp.broadcast_arrays(*leaves))


def along_last(values: Array, eta: Array) -> Array:
    """A vector [K] as [1..., K], to be combined with ``eta[..., None]``."""
    return values.reshape((1,) * eta.ndim + values.shape)


def widely(method: Callable) -> Callable:
    """Computes a density or an entropy in at least float32; the result has the dtype of eta.

    The terms of a log-density are large and nearly cancel: eight bits would lose all of it.
    """

    @functools.wraps(method)
    def computed(self, eta, *z):
        eta = self.canonical(eta)
        dtype = jnp.result_type(*jax.tree.leaves(eta))
        wide = jax.tree.map(lambda x: jnp.asarray(x, noise_dtype(x)), (eta, *z))
        return method(self, *wide).astype(dtype)

    return computed
