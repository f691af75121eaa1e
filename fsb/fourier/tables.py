"""Functions of n two-valued units as tables of their values, and operators on them.

A table holds the values of a function, [..., 2^n], in the lexicographic order of ``states``: unit 0
is the most significant bit. Leading axes hold several functions. p holds the probability of the
high value for each unit, [n]. Everything is float64 NumPy.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from fsb.distributions import Bernoulli
from fsb.errors import FsbError

MOST_UNITS = 20
ZERO_ONE = Bernoulli()


def states(n: int, dist: Bernoulli = ZERO_ONE) -> Float64[np.ndarray, "states n"]:
    """All joint values of n units, [2^n, n], in the order used by every table here.

    Raises:
      FsbError: if n is negative or above 20.

    >>> states(2, Bernoulli(-1.0, 1.0)).tolist()
    [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
    """
    if not 0 <= n <= MOST_UNITS:
        raise FsbError(f"n={n}: it must lie between 0 and {MOST_UNITS}")
    bits = np.arange(2**n)[:, None] >> np.arange(n)[::-1] & 1
    return np.asarray(dist.encode(bits.astype(np.float64)))


def probabilities(p: ArrayLike) -> Float64[np.ndarray, " states"]:
    """The probability P(z) of every state, [2^n].

    >>> probabilities([0.5, 0.25]).tolist()
    [0.375, 0.125, 0.375, 0.125]
    """
    table = np.ones(1)
    for q in check_probabilities(p):
        table = np.stack([(1 - q) * table, q * table], -1).reshape(-1)
    return table


def discrete_derivative(
    values: ArrayLike, p: ArrayLike, unit: int
) -> Float64[np.ndarray, "*functions states"]:
    """D_i f = sqrt(p_i (1 - p_i)) (f at unit i high - f at unit i low), as a table.

    Its spectrum is fhat(S + i) at the sets S without i; E[D_i f] = fhat({i}), and E[(D_i f)^2] is
    the influence of unit i.

    Source: O'Donnell 2014, arXiv:2105.10386, section 8.4.

    >>> discrete_derivative([0.0, 1.0, 4.0, 9.0], [0.5, 0.5], unit=0).tolist()
    [2.0, 4.0, 2.0, 4.0]
    """
    table, p = checked(values, p)
    if not 0 <= unit < len(p):
        raise FsbError(f"unit={unit}: it must lie between 0 and {len(p) - 1}")
    s = deviation(p)[unit]
    return apply_to(table, np.array([[-s, s], [-s, s]]), len(p) - 1 - unit)


def noise_operator(
    values: ArrayLike, p: ArrayLike, rho: float
) -> Float64[np.ndarray, "*functions states"]:
    """T_rho f(z) = E f(N_rho(z)): each unit of z is kept with probability rho, else resampled.

    Multiplies fhat(S) by rho^|S|. Defined at every state, including those of probability 0.

    Source: O'Donnell 2014, arXiv:2105.10386, section 8.4; as an estimator, ``fsb.noise_operator``.

    >>> noise_operator([0.0, 1.0], [0.25], rho=0.5).tolist()
    [0.125, 0.625]
    """
    table, p = checked(values, p)
    check_rho(rho)
    low, high = (1 - rho) * (1 - p), (1 - rho) * p
    return apply(table, np.array([[rho + low, high], [low, rho + high]]))


def check_probabilities(p: ArrayLike) -> Float64[np.ndarray, " n"]:
    p = np.asarray(p, np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise FsbError(f"p={p.tolist()}: it must be a list of probabilities, [n] in [0, 1]")
    return p


def checked(
    table: ArrayLike, p: ArrayLike
) -> tuple[Float64[np.ndarray, "*functions states"], Float64[np.ndarray, " n"]]:
    p, table = check_probabilities(p), np.asarray(table, np.float64)
    if table.shape[-1:] != (2 ** len(p),):
        raise FsbError(f"table {table.shape} for {len(p)} units: its last axis must be 2^n")
    return table, p


def check_rho(rho: float) -> None:
    if not 0 <= rho <= 1:
        raise FsbError(f"rho={rho}: it must lie in [0, 1]")


def deviation(p: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Standard deviation of the bit, which is sigma_i / span in every encoding."""
    return np.sqrt(p * (1 - p))


def apply(
    table: Float64[np.ndarray, "*functions states"], matrices: Float64[np.ndarray, "2 2 n"]
) -> Float64[np.ndarray, "*functions states"]:
    """Applies the tensor product of n 2x2 matrices, [2, 2, n], to a table, one unit at a time."""
    n = matrices.shape[-1]
    for i in range(n):
        table = apply_to(table, matrices[..., i], n - 1 - i)
    return table


def apply_to(
    table: Float64[np.ndarray, "*functions states"], matrix: Float64[np.ndarray, "2 2"], below: int
) -> Float64[np.ndarray, "*functions states"]:
    """Applies a 2x2 matrix to the unit that has ``below`` units after it."""
    halves = table.reshape(-1, 2, 2**below)
    low, high = halves[:, 0], halves[:, 1]
    return np.stack([row[0] * low + row[1] * high for row in matrix], 1).reshape(table.shape)
