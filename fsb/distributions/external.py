"""Distributions of other libraries at a site."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fsb.errors import FsbError
from fsb.types import Array, Eta, PRNGKey


@dataclass(frozen=True)
class External:
    """A distribution of NumPyro, Distrax or TensorFlow Probability (on JAX) at a site.

    ``make(eta)`` returns an object with ``sample``, ``log_prob`` and, where something asks for
    them, ``mean`` and ``entropy``. Its batch axes are the units [B, D...]; it must also accept the
    parameters of a single unit, as each unit is sampled with its own key. Define ``make`` once,
    outside the loss: two functions make two different distributions.

    Args:
      make: function of eta, an array or a tuple of arrays; each has the axes of the units first.
      reparameterized: whether ``sample`` is differentiable in eta; if not, the gradient of a draw
        is stopped. Say True only of a sampler with the right derivatives.
      values: all values of one unit, [K] or [K, event] as nested tuples; None if there are
        infinitely many. ``exact`` needs them.

    Raises:
      FsbError: if something needs a method that the object does not have.

    >>> import jax, jax.numpy as jnp, fsb
    >>> class Shift:  # stands for a class of another library
    ...     def __init__(self, loc):
    ...         self.loc = loc
    ...     def sample(self, key):
    ...         return self.loc + jax.random.normal(key, self.loc.shape)
    ...     def log_prob(self, z):
    ...         return -0.5 * (z - self.loc) ** 2
    >>> dist = fsb.External(Shift, reparameterized=True)
    >>> loss = lambda eta, sample: sample("z", dist, eta).sum(-1)
    >>> fsb.value_and_grad(fsb.pathwise(), loss)(jnp.zeros((1, 2)), jax.random.key(0))[1].tolist()
    [[1.0, 1.0]]
    """

    make: Callable[[Eta], Any]
    reparameterized: bool = False
    values: tuple | None = None

    def units(self, eta: Eta) -> tuple[int, ...]:
        """The shape [B, D...] of the units."""

        def log_prob(key, eta):
            made = self.make(eta)
            return made.log_prob(drawn(made, key))

        return jax.eval_shape(log_prob, jax.random.key(0), eta).shape

    def canonical(self, eta: Eta) -> Eta:
        """eta with the leading axes of every parameter expanded to the shape of the units."""
        units = self.units(eta)

        def expand(x):
            return jnp.broadcast_to(x, (*units, *x.shape[len(units) :]))

        return jax.tree.map(expand, eta)

    def noise(self, key: PRNGKey, eta: Eta) -> Array:
        """One key per unit, [B, D...]."""
        return jax.random.split(key, self.units(eta))

    def from_noise(self, keys: Array, eta: Eta) -> Array:
        draw = lambda key, eta: drawn(self.make(eta), key)
        for _ in keys.shape:
            draw = jax.vmap(draw)
        eta = self.canonical(eta)
        z = draw(keys, eta).astype(jnp.result_type(*jax.tree.leaves(eta)))
        return z if self.reparameterized else jax.lax.stop_gradient(z)

    def sample(self, key: PRNGKey, eta: Eta) -> Array:
        return self.from_noise(self.noise(key, eta), eta)

    def mean(self, eta: Eta) -> Array:
        mean = self._method(eta, "mean")
        return mean() if callable(mean) else mean

    def log_prob(self, eta: Eta, z: Array) -> Array:
        return self._method(eta, "log_prob")(z)

    def entropy(self, eta: Eta) -> Array:
        return self._method(eta, "entropy")()

    def support(self, eta: Eta) -> Array:
        """``values`` as an array."""
        if self.values is None:
            raise FsbError("External has no values to enumerate; name them in External(values=...)")
        return jnp.asarray(self.values, jnp.result_type(*jax.tree.leaves(eta)))

    def decode(self, z: Array) -> Array:
        return z

    def _method(self, eta: Eta, name: str) -> Any:
        made = self.make(self.canonical(eta))
        if not hasattr(made, name):
            raise FsbError(f"External: {type(made).__name__} has no {name}")
        return getattr(made, name)


def drawn(made: Any, key: PRNGKey) -> Array:
    """One draw: ``sample(key)`` as in NumPyro, ``sample(seed=key)`` in the others."""
    seeded = "seed" in inspect.signature(made.sample).parameters
    return made.sample(seed=key) if seeded else made.sample(key)
