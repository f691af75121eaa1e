"""Monte Carlo estimates of low-degree Fourier coefficients, for functions of many units."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from fsb.distributions import Bernoulli
from fsb.errors import FsbError
from fsb.fourier.spectrum import basis
from fsb.fourier.tables import ZERO_ONE, check_probabilities
from fsb.types import PRNGKey

ENTRIES = 2**22  # size limit of the array of products


class LowDegree(NamedTuple):
    """Estimates for the m sets of low degree.

    subsets: m tuples of units, starting with the empty one.
    coefficients: unbiased estimates of fhat(S), [m].
    errors: their standard errors, [m].
    """

    subsets: tuple[tuple[int, ...], ...]
    coefficients: Float64[np.ndarray, " sets"]
    errors: Float64[np.ndarray, " sets"]


def low_degree_coefficients(
    f: Callable[[np.ndarray], Any],
    p: ArrayLike,
    degree: int,
    key: PRNGKey,
    num_samples: int,
    dist: Bernoulli = ZERO_ONE,
    chunk_size: int = 4096,
) -> LowDegree:
    r"""fhat(S) = E_p[f phi_S] for all |S| <= degree, estimated from N samples.

    .. math:: \hat f(S) \approx \frac{1}{N - 1} \sum_{m=1}^{N} (f(z_m) - \bar f)\, \phi_S(z_m),
        \quad S \ne \emptyset.

    Unbiased, as E[phi_S] = 0: subtracting the mean of the same samples only costs the factor
    N/(N - 1), and a constant in f adds no variance. Rare values (p near 0 or 1) make phi_S large
    and the standard errors unreliable; units with p = 0 or 1 have coefficients 0.

    Args:
      f: values of the units [chunk, n] -> [chunk].
      p: probabilities of high, [n], in [0, 1].
      degree: degree of the largest sets, 0 to n; there are about n^degree / degree! of them.
      num_samples: N, at least 2.
      dist: the encoding of the units passed to f.
      chunk_size: number of samples passed to f at a time.

    Raises:
      FsbError: if p, ``degree``, ``num_samples`` or ``chunk_size`` is out of range, or f returns
        the wrong shape.

    Source: Linial, Mansour & Nisan 1993 (Constant Depth Circuits, Fourier Transform, and
    Learnability), doi:10.1145/174130.174138, the low-degree algorithm, here in the p-biased basis.

    >>> import jax
    >>> parity = lambda z: z[:, 0] * z[:, 1]  # in {-1, 1}, at p = 1/2: its own basis function
    >>> found = low_degree_coefficients(
    ...     parity, [0.5] * 50, 2, jax.random.key(0), 4000, Bernoulli(-1.0, 1.0))
    >>> largest = abs(found.coefficients).argmax()
    >>> found.subsets[largest], len(found.subsets), found.coefficients[largest].round(1).item()
    ((0, 1), 1276, 1.0)
    """
    p = check_probabilities(p)
    n = len(p)
    if not 0 <= degree <= n:
        raise FsbError(f"degree={degree}: it must lie between 0 and n={n}")
    if num_samples < 2 or chunk_size < 1:
        raise FsbError(
            f"num_samples={num_samples}, chunk_size={chunk_size}: must be at least 2 and 1"
        )
    # In double precision, as 23 bits of noise would bias rare values.
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    bits = generator.random((num_samples, n)) < p
    values = np.concatenate(
        [
            np.asarray(f(np.asarray(dist.encode(part.astype(np.float64)))), np.float64)
            for part in np.split(bits, range(chunk_size, num_samples, chunk_size))
        ]
    )
    if values.shape != (num_samples,):
        raise FsbError("f must return one value per row of units, [chunk, n] -> [chunk]")

    subsets = [s for k in range(degree + 1) for s in itertools.combinations(range(n), k)]
    members = np.array([s + (n,) * (degree - len(s)) for s in subsets], int).T
    low, high = basis(p)
    centred = values - values.mean()
    total, square = np.zeros(len(subsets)), np.zeros(len(subsets))
    rows = max(1, ENTRIES // len(subsets))
    for start in range(0, num_samples, rows):
        part = slice(start, start + rows)
        phi = np.where(bits[part], high, low)
        phi = np.concatenate([phi, np.ones((len(phi), 1))], 1)  # pads short sets
        terms = np.repeat(centred[part, None], len(subsets), 1)
        for member in members:
            terms *= phi[:, member]
        total += terms.sum(0)
        square += np.square(terms).sum(0)

    mean = total / num_samples
    errors = np.sqrt(np.maximum(square / num_samples - mean**2, 0) / (num_samples - 1))
    coefficients = total / (num_samples - 1)
    coefficients[0] = values.mean()
    return LowDegree(tuple(subsets), coefficients, errors)
