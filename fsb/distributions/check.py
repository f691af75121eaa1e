"""What is missing or wrong in a distribution of one's own."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from fsb.constraints import METHODS
from fsb.errors import FsbError
from fsb.types import Distribution, Eta

COMPILED = ("sample", "noise", "from_noise", "mean", "log_prob", "entropy", "decode")
SIGMAS = 5.0  # a right family of ten units fails by chance in one check of 100,000


def check_distribution(dist: Distribution, eta: Eta, draws: int = 20_000, seed: int = 0) -> None:
    """Checks that a distribution keeps what ``fsb.types.Distribution`` promises.

    Draws ``draws`` values at eta and compares them with the other methods: the mean; the entropy,
    which is E[-log p(z)]; the score, whose mean is 0; the shapes and dtypes; that the noise does
    not depend on eta, and that units are independent. If the values can be enumerated, their
    probabilities must sum to 1 and give the same mean and entropy. If the distribution is
    reparameterised, the derivative of a draw must have the mean of that of ``mean``.

    Args:
      dist: the distribution.
      eta: its parameters, [B, D...]; a few units, away from the ends of the range.
      draws: number of draws.
      seed: of the draws.

    Raises:
      FsbError: in one line, what is missing or wrong.

    >>> import jax.numpy as jnp, fsb, fsb.testing
    >>> class Shifted(fsb.Normal):
    ...     def mean(self, eta):
    ...         return eta[0] + 1
    >>> eta = (jnp.zeros((2, 3)), jnp.ones((2, 3)))
    >>> fsb.testing.check_distribution(fsb.Normal(), eta)
    >>> fsb.testing.check_distribution(Shifted(), eta)
    Traceback (most recent call last):
    fsb.errors.FsbError: Shifted: mean is not the mean of the draws: ...
    """
    name = type(dist).__name__
    if inspect.isclass(dist):
        raise FsbError(f"check_distribution: {dist.__name__} is a class; pass an instance")
    for method in (*METHODS, "reparameterized"):
        if not hasattr(dist, method):
            raise FsbError(f"{name}: {method} is missing")
    _hashable(dist)
    fast = SimpleNamespace(**{m: jax.jit(getattr(dist, m)) for m in COMPILED})
    eta = getattr(dist, "canonical", lambda eta: eta)(eta)
    key = jax.random.key(seed)
    dtype = jnp.result_type(*jax.tree.leaves(eta))
    z = fast.sample(key, eta)
    units = _shapes(name, fast, eta, z, dtype)
    _same_noise(name, fast, eta, key, z)
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (draws, *x.shape)), eta)
    values = fast.sample(jax.random.fold_in(key, 1), many)
    log_prob = fast.log_prob(many, values)
    _agree(name, "mean is not the mean of the draws", values, fast.mean(eta))
    _agree(name, "entropy is not the mean of -log_prob", -log_prob, fast.entropy(eta))
    _independent(name, fast.decode(values), len(units))
    if hasattr(dist, "support"):
        _enumerable(name, dist, eta, units, z)
    score = jax.jit(jax.grad(lambda eta: dist.log_prob(eta, values).sum()))
    try:
        scores = score(many)
    except FsbError:
        scores = ()  # a family that refuses its score, such as Uniform
    for leaf in jax.tree.leaves(scores):
        _agree(name, "the mean of the score is not 0", leaf, jnp.zeros(leaf.shape[1:]))
    if dist.reparameterized:
        _differentiable(name, dist, eta, many, jax.random.fold_in(key, 2))


def _hashable(dist):
    try:
        hash(dist)
    except TypeError:
        name = type(dist).__name__
        raise FsbError(f"{name} must be hashable, as a frozen dataclass is") from None


def _shapes(name, dist, eta, z, dtype):
    """Checks shapes and dtypes; returns the shape of the units."""
    units = dist.entropy(eta).shape
    for method, found in (("log_prob", dist.log_prob(eta, z)), ("mean", dist.mean(eta))):
        expected = units if method == "log_prob" else z.shape
        if found.shape != expected:
            raise FsbError(f"{name}: {method} must have the shape {expected}, not {found.shape}")
    if z.shape[: len(units)] != units:
        raise FsbError(
            f"{name}: a draw must have the axes of the units first, {units}, not {z.shape}"
        )
    results = {"sample": z, "mean": dist.mean(eta), "entropy": dist.entropy(eta)}
    results |= {"log_prob": dist.log_prob(eta, z), "decode": dist.decode(z)}
    for method, found in results.items():
        if found.dtype != dtype:
            raise FsbError(
                f"{name}: {method} must have the dtype of eta, {dtype}, not {found.dtype}"
            )
    for leaf in jax.tree.leaves(dist.noise(jax.random.key(0), eta)):
        if leaf.shape[: len(units)] != units:
            raise FsbError(f"{name}: noise must have the axes of the units first, {units}")
    return units


def _same_noise(name, dist, eta, key, z):
    noise = dist.noise(key, eta)
    if not (dist.from_noise(noise, eta) == z).all():
        raise FsbError(f"{name}: sample(key, eta) must equal from_noise(noise(key, eta), eta)")
    moved = dist.noise(key, jax.tree.map(lambda x: x * 1.01 + 0.01, eta))
    raw = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    same = jax.tree.map(lambda a, b: bool((raw(a) == raw(b)).all()), noise, moved)
    if not all(jax.tree.leaves(same)):
        raise FsbError(f"{name}: noise must not depend on the values of eta")


def _agree(name, what, draws, expected):
    """Whether the mean of draws [n, ...] is the expected value, within the error of the draws."""
    found = np.asarray(draws, np.float64)
    expected = np.asarray(expected, np.float64)
    error = found.std(0) / np.sqrt(len(found)) + 1e-4 * (np.abs(expected) + found.std(0)) + 1e-6
    off = np.abs(found.mean(0) - expected) / error
    if not (off < SIGMAS).all():
        worst = np.unravel_index(np.argmax(np.nan_to_num(off, nan=np.inf)), off.shape)
        raise FsbError(
            f"{name}: {what}: {found.mean(0)[worst]:.5g} over {len(found)} draws, "
            f"not {expected[worst]:.5g} ({error[worst]:.1g} of error)"
        )


def _independent(name, values, axes):
    """Units must be uncorrelated, in value and in square."""
    flat = np.asarray(values, np.float64).reshape(*values.shape[: axes + 1], -1)[..., 0]
    flat = flat.reshape(len(flat), -1)
    flat = flat[:, flat.std(0) > 0]
    for moment in (flat, (flat - flat.mean(0)) ** 2):
        ranks = [np.unique(unit, return_inverse=True)[1] for unit in moment.T]
        correlation = np.corrcoef(ranks) if flat.shape[1] > 1 else np.zeros((1, 1))
        worst = np.abs(np.triu(np.atleast_2d(correlation), 1)).max(initial=0)
        if worst > SIGMAS / np.sqrt(len(flat)):
            raise FsbError(f"{name}: two units have draws with a correlation of {worst:.2g}")


def _enumerable(name, dist, eta, units, z):
    try:
        support = dist.support(eta)
    except FsbError:  # infinitely many values
        return
    event = z.shape[len(units) :]
    if support.shape[1:] != event:
        raise FsbError(
            f"{name}: support must return the values along the first axis, {('K', *event)}, "
            f"not the shape {support.shape}"
        )
    log = jnp.stack([dist.log_prob(eta, jnp.broadcast_to(value, z.shape)) for value in support])
    p = np.exp(np.asarray(log, np.float64))
    if not np.allclose(p.sum(0), 1, atol=1e-4):
        raise FsbError(
            f"{name}: the probabilities of the support sum to {p.sum(0).max():.5g}, not 1"
        )
    entropy = -(p * np.asarray(log, np.float64)).sum(0)
    if not np.allclose(entropy, dist.entropy(eta), rtol=1e-3, atol=1e-4):
        raise FsbError(f"{name}: entropy is not that of the probabilities of the support")
    mean = np.tensordot(np.moveaxis(p, 0, -1), np.asarray(support, np.float64), 1)
    if not np.allclose(mean, dist.mean(eta), rtol=1e-3, atol=1e-4):
        raise FsbError(f"{name}: mean is not that of the probabilities of the support")


def _differentiable(name, dist, eta, many, key):
    slope = jax.jit(jax.grad(lambda eta: dist.sample(key, eta).sum()))(many)
    expected = jax.jit(jax.grad(lambda eta: dist.mean(eta).sum()))(eta)
    for found, true in zip(*map(jax.tree.leaves, (slope, expected)), strict=True):
        _agree(name, "the derivative of a draw has the wrong mean", found, true)
