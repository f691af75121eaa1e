r"""The p-biased Fourier transform of functions of n two-valued units, and derived quantities.

With p_i the probability that unit i is high, the basis is

.. math:: \phi_S(z) = \prod_{i \in S} \phi_i(z_i), \quad \phi_i = \frac{z_i - \mu_i}{\sigma_i},
    \qquad \hat f(S) = E_p[f \phi_S], \quad f = \sum_S \hat f(S) \phi_S,

where mu_i, sigma_i are the mean and standard deviation of z_i. It is orthonormal under p and the
same in every encoding, as phi_i is sqrt((1 - p)/p) at high and -sqrt(p/(1 - p)) at low.

A function is a table of its values, see ``fsb.fourier.tables``. A spectrum is a table of the same
shape, where bit i of the index says whether unit i belongs to S.

A unit with p = 0 or 1 is constant: phi_i = 0, and every coefficient with i in S is 0, its limit
from the interior. All identities then hold at the states of positive probability.

Source: O'Donnell 2014 (Analysis of Boolean Functions), arXiv:2105.10386, section 8.4; Pervez,
Cohen & Gavves 2020 (Low Bias Low Variance Gradient Estimates for Boolean Stochastic Networks),
https://proceedings.mlr.press/v119/pervez20a.html, section 2.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import ArrayLike

from fsb.errors import FsbError
from fsb.fourier.tables import apply, check_probabilities, check_rho, checked, deviation


def evaluate_basis(bits: ArrayLike, p: ArrayLike) -> Float64[np.ndarray, "*points sets"]:
    """phi_S for every S at the given states: bits [..., n] in {0, 1} -> [..., 2^n].

    Source: Pervez et al. 2020, https://proceedings.mlr.press/v119/pervez20a.html, section 2.

    >>> evaluate_basis([1, 0], [0.5, 0.2]).tolist()
    [1.0, -0.5, 1.0, -0.5]
    """
    p, bits = check_probabilities(p), np.asarray(bits, np.float64)
    if bits.shape[-1:] != p.shape or not np.isin(bits, (0, 1)).all():
        raise FsbError(f"bits {bits.shape}: they must be zeros and ones, [..., {len(p)}]")
    factors = np.where(bits == 1, basis(p)[1], basis(p)[0])
    table = np.ones((*bits.shape[:-1], 1))
    for i in range(len(p)):
        phi = factors[..., i, None]
        table = np.stack([table, phi * table], -1).reshape(*bits.shape[:-1], -1)
    return table


def transform(values: ArrayLike, p: ArrayLike) -> Float64[np.ndarray, "*functions sets"]:
    """The spectrum fhat(S) = E_p[f phi_S] of a function, in O(n 2^n).

    Args:
      values: f at every state, [..., 2^n].
      p: probabilities of high, [n], in [0, 1].

    Raises:
      FsbError: if p is not [n] in [0, 1], or there are not 2^n values.

    Source: Pervez et al. 2020, https://proceedings.mlr.press/v119/pervez20a.html, eq. 3.

    >>> from fsb.distributions import Bernoulli
    >>> from fsb.fourier import states
    >>> z = states(2, Bernoulli(-1.0, 1.0))
    >>> transform(z[:, 0] * z[:, 1] + 3, [0.5, 0.5]).tolist()
    [3.0, 0.0, 0.0, 1.0]
    """
    table, p = checked(values, p)
    s = deviation(p)
    return apply(table, np.array([[1 - p, p], [-s, s]]))


def inverse(coefficients: ArrayLike, p: ArrayLike) -> Float64[np.ndarray, "*functions states"]:
    """The values of a function from its spectrum, [..., 2^n]; the inverse of ``transform``.

    At states of probability 0 it returns the value with deterministic units at their only value.

    Source: Pervez et al. 2020, https://proceedings.mlr.press/v119/pervez20a.html, eq. 2.

    >>> inverse(transform([1.0, 2.0, 3.0, 5.0], [0.5, 0.2]), [0.5, 0.2]).round(12).tolist()
    [1.0, 2.0, 3.0, 5.0]
    """
    table, p = checked(coefficients, p)
    low, high = basis(p)
    return apply(table, np.array([[np.ones_like(p), low], [np.ones_like(p), high]]))


def degrees(n: int) -> Int[np.ndarray, " sets"]:
    """|S| for every index of a spectrum, [2^n].

    >>> degrees(2).tolist()
    [0, 1, 1, 2]
    """
    return np.bitwise_count(np.arange(2**n)).astype(int)


def degree_weights(coefficients: ArrayLike) -> Float64[np.ndarray, "*functions degrees"]:
    """W_k = sum of fhat(S)^2 over |S| = k, [..., n + 1].

    They sum to E[f^2] (Parseval), and without W_0 to the variance of f.

    >>> degree_weights(transform([0.0, 1.0, 1.0, 2.0], [0.5, 0.5])).tolist()
    [1.0, 0.5, 0.0]
    """
    squares = np.square(coefficients, dtype=np.float64)
    n = _units(squares)
    return np.stack([squares[..., degrees(n) == k].sum(-1) for k in range(n + 1)], -1)


def influences(coefficients: ArrayLike) -> Float64[np.ndarray, "*functions n"]:
    """Inf_i = sum of fhat(S)^2 over all S containing i = E[Var(f given all other units)], [..., n].

    >>> influences(transform([0.0, 0.0, 2.0, 2.0], [0.5, 0.5])).tolist()
    [1.0, 0.0]
    """
    squares = np.square(coefficients, dtype=np.float64)
    n = _units(squares)
    split = [squares.reshape(*squares.shape[:-1], 2**i, 2, -1) for i in range(n)]
    each = [halves[..., 1, :].sum((-2, -1)) for halves in split]
    return np.stack(each, -1) if each else np.zeros((*squares.shape[:-1], 0))


def total_influence(coefficients: ArrayLike) -> np.ndarray | np.float64:
    """The sum of the influences, which is the sum of |S| fhat(S)^2, [...].

    >>> total_influence(transform([1.0, -1.0, -1.0, 1.0], [0.5, 0.5])).item()
    2.0
    """
    return influences(coefficients).sum(-1)


def noise_stability(coefficients: ArrayLike, rho: float) -> np.ndarray | np.float64:
    """E[f(z) f(N_rho(z))] = sum of rho^|S| fhat(S)^2, [...].

    >>> noise_stability(transform([1.0, -1.0, -1.0, 1.0], [0.5, 0.5]), rho=0.5).item()
    0.25
    """
    check_rho(rho)
    weights = degree_weights(coefficients)
    return weights @ rho ** np.arange(weights.shape[-1])


def logit_gradient(coefficients: ArrayLike, p: ArrayLike) -> Float64[np.ndarray, "*functions n"]:
    r"""The exact gradient of E[f] in the logits, from the coefficients of degree one, [..., n].

    .. math:: \frac{\partial E[f]}{\partial \eta_i} = \sqrt{p_i (1 - p_i)} \, \hat f(\{i\}),
        \qquad \frac{\partial E[f]}{\partial p_i} = \frac{\hat f(\{i\})}{\sqrt{p_i (1 - p_i)}}.

    The paper's factor 2 / sigma_i, with sigma_i the deviation of a unit in {-1, 1}, is equivalent.
    This is the mean of REINFORCE.

    Source: Pervez et al. 2020, https://proceedings.mlr.press/v119/pervez20a.html, Lemma 1.

    >>> logit_gradient(transform([0.0, 1.0], [0.2]), [0.2]).round(12).tolist()
    [0.16]
    """
    table, p = checked(coefficients, p)
    return deviation(p) * table[..., 2 ** np.arange(len(p))[::-1]]


def basis(
    p: Float64[np.ndarray, " n"],
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """phi_i at low and at high, [n] each; 0 for deterministic units."""
    low, high, sure = np.sqrt(1 - p), np.sqrt(p), (p == 0) | (p == 1)
    blank = np.where(sure, 1.0, 0.0)
    return np.where(sure, 0.0, -high / (low + blank)), np.where(sure, 0.0, low / (high + blank))


def _units(table: Float64[np.ndarray, "*functions sets"]) -> int:
    size = table.shape[-1] if table.ndim else 0
    if size < 1 or size & (size - 1):
        raise FsbError(f"table {table.shape}: its last axis must be 2^n")
    return int(math.log2(size))
