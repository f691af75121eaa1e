"""Fourier stochastic backpropagation as published: a truncated series of derivatives."""

from __future__ import annotations

import math
import warnings
from functools import partial

import jax
import jax.numpy as jnp

from fsb.distributions import (
    Beta,
    Dirac,
    Dirichlet,
    Gamma,
    Laplace,
    MultivariateNormal,
    Normal,
    Poisson,
)
from fsb.errors import FsbError
from fsb.estimators._continuous import Rules, continuous, pull
from fsb.estimators._tracing.kinks import kink
from fsb.estimators._tracing.taylor import coordinates, derivatives, gradient
from fsb.estimators.fourier_exact import (
    as_shares,
    dirac,
    multivariate_normal,
    normal,
    unit_masks,
)
from fsb.types import Estimator

WARN_ABOVE = 0.05  # the first omitted term, as a fraction of the terms kept


def fourier_series(
    order: int = 2, check: bool = True, separable: bool = False, side: int = 64
) -> Estimator:
    r"""Fourier stochastic backpropagation: the first N terms of its series.

    With f^(n) the n-th derivative of the loss in one unit, the others held at their samples,

    .. math::
        \mathrm{Gamma}(k, \mu):\quad & \bar k = \sum_{n=1}^N \tfrac{\mu^n}{n} f^{(n)}(z), \quad
            \bar\mu = k \sum_{n=1}^N \mu^{n-1} f^{(n)}(z)
        \\ \mathrm{Laplace}(m, b):\quad & \bar m = f'(z), \quad
            \bar b = \tfrac{2}{b} \sum_{n=1}^N b^{2n} f^{(2n)}(z)
        \\ \mathrm{Dirichlet}(\alpha):\quad & \bar\alpha_k = \sum_{n=1}^N \tfrac{1}{n}
            \frac{\partial^n}{\partial z_k^n} f\bigl(z / \textstyle\sum_j z_j\bigr)
            \prod_{i=1}^n \frac{1}{\alpha_0 - i}, \quad \alpha_0 = \sum_k \alpha_k
        \\ \mathrm{Poisson}(\lambda):\quad & \overline{\log\lambda} =
            \lambda \sum_{n=1}^N f^{(n)}(z) / n!

    The series of normal, multivariate normal and Dirac sites are finite and those of
    ``fourier_exact``. The scale of a Laplace variable is b; eq. 19 of the paper confuses it with
    b^2. For Dirichlet, and Beta(a, b) = Dirichlet(a, b), powers of the inverse sum of the gammas
    are replaced by their means.

    Biased except for polynomials of degree N (2 N for Laplace scales). The series diverges if the
    spectrum of the loss exceeds the radius of convergence, 1 / mu or 1 / b. For logistic losses it
    always diverges eventually, so that more terms make it worse. ``fourier_exact`` has neither
    problem and costs less.

    Three safeguards: a loss with kinks, such as ReLU, is rejected, as its higher derivatives carry
    no information. If the concentrations sum to the order or less, a term is infinite: the estimate
    is NaN, with a warning. With ``check``, one more term is computed; there is a warning if it
    exceeds 5% of the terms kept (logistic losses beyond b |x| = 0.5), and the metric ``left_out``
    records it.

    One forward pass of Taylor series per unit (one in all if ``separable``); its cost grows with
    the square of the order.

    Several layers: as ``fourier_exact``.

    Source: "Fourier stochastic backpropagation" (submitted to ICLR 2021),
    https://openreview.net/forum?id=vkxGQB9f2Vg, eqs. 15, 16, 19-22, 24.

    Args:
      order: N >= 1, the number of terms kept; Laplace scales need derivatives up to order 2 N.
      check: compute the first omitted term, and warn. Each check calls the host from the compiled
        program.
      separable: whether the loss is a sum over the units of each site; not checked.
      side: number of units evaluated at a time.

    Raises:
      FsbError: if ``order`` or ``side`` is below 1; from the run, if a site is discrete or the loss
        has a kink.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: (sample("z", fsb.Laplace(), eta) ** 2).sum(-1)
    >>> eta = (jnp.zeros((1, 1)), jnp.full((1, 1), 0.5))
    >>> value, grads = fsb.value_and_grad(fsb.fourier_series(1), loss)(eta, jax.random.key(0))
    >>> grads[1].item()  # of 2 b^2
    2.0
    """
    for name, value in (("order", order), ("side", side)):
        if value < 1:
            raise FsbError(f"fourier_series: {name}={value}: it must be at least 1")
    how = {"separable": separable, "side": side}
    series = {"order": order, "check": check, **how}
    terms = order + check
    rules: Rules = {
        Gamma: (terms, require_smooth(partial(gamma, **series))),
        Laplace: (2 * terms, require_smooth(partial(laplace, **series))),
        Normal: (2, require_smooth(partial(normal, smooth=True, **how))),
        MultivariateNormal: (2, require_smooth(partial(multivariate_normal, smooth=True, **how))),
        Dirac: (1, dirac),
        Beta: (terms, require_smooth(partial(beta, **series))),
        Dirichlet: (terms, require_smooth(partial(dirichlet, **series))),
        Poisson: (terms, require_smooth(partial(poisson, **series))),
    }
    return continuous("fourier_series", rules)


def require_smooth(rule):
    """The rule, restricted to losses without kinks."""

    def checked(site, f, key):
        name = kink(f.jaxpr)
        if name is not None:
            raise FsbError(
                f"fourier_series needs higher derivatives, which miss a kink ({name}); "
                "use fourier_exact(smooth=False)"
            )
        return rule(site, f, key)

    return checked


def gamma(site, f, key, order, check, separable, side):
    shape, scale = site.dist.shape_and_scale(site.eta)
    n = powers(order + check, site.z)
    terms = coordinates(f, site.z, jnp.zeros_like(site.z), order + check, separable, side)
    terms = scale[None] ** n * terms
    g = (terms[:order] / n[:order]).sum(0), shape / scale * terms[:order].sum(0)
    return pull(site.dist.shape_and_scale, site.eta, g), guard(terms, order, check)


def laplace(site, f, key, order, check, separable, side):
    _, scale = site.eta
    found = coordinates(f, site.z, jnp.zeros_like(site.z), 2 * (order + check), separable, side)
    terms = scale[None] ** (2 * powers(order + check, site.z)) * found[1::2]
    return (found[0], 2 / scale * terms[:order].sum(0)), guard(terms, order, check)


def poisson(site, f, key, order, check, separable, side):
    found = coordinates(f, site.z, jnp.zeros_like(site.z), order + check, separable, side)
    weights = [1 / math.factorial(n) for n in range(1, order + check + 1)]
    terms = found * jnp.asarray(weights, site.z.dtype).reshape((-1,) + (1,) * site.z.ndim)
    return jnp.exp(site.eta) * terms[:order].sum(0), guard(terms, order, check)


def dirichlet(site, f, key, order, check, separable, side):
    z, total = site.z, site.eta.sum(-1, keepdims=True)
    shares = lambda zeta: f(zeta / zeta.sum(-1, keepdims=True))
    masks, axes = unit_masks(z, separable)

    def corners(mask):
        """Derivatives in each of the K gammas, for the units of a mask: [n, B, D..., K]."""
        corner = lambda k: jnp.zeros(z.shape, z.dtype).at[..., k].set(1)
        one = lambda k: along_gamma(shares, z, mask * corner(k), order + check, separable)
        return jnp.stack([mask[..., 0][None] * one(k) for k in range(axes)], -1)

    found = jax.lax.map(corners, masks, batch_size=max(1, side // axes)).sum(0)
    n = powers(order + check, z)
    finite = total[None] > n  # E of (1 / sum)^n; infinite elsewhere
    factors = jnp.where(finite, 1 / jnp.where(finite, total[None] - n, 1), jnp.nan)
    terms = jnp.cumprod(factors, 0) * found / n
    if check:
        jax.debug.callback(warn_infinite, order >= total.min())
    return terms[:order].sum(0), guard(jnp.nan_to_num(terms), order, check)


def along_gamma(shares, z, direction, order, separable):
    """d^n / dt^n of shares(z + t direction), [n, B, 1...]; per unit if ``separable``."""
    if not separable:
        found = derivatives(shares, z, direction, order)
        return found.reshape(found.shape + (1,) * (z.ndim - 2))
    slope = lambda z: (gradient(shares, z) * direction).sum(-1)
    first = slope(z)[None]
    if order == 1:
        return first
    return jnp.concatenate([first, derivatives(slope, z, direction, order - 1)])


def beta(site, f, key, order, check, separable, side):
    """Beta as the first of two Dirichlet shares."""
    shared = lambda z: f(z[..., 0])
    g, notes = dirichlet(as_shares(site), shared, key, order, check, separable, side)
    return (g[..., 0], g[..., 1]), notes


def powers(order, z):
    """1 .. order, [order, 1, ...], which broadcasts against [order, *z.shape]."""
    return jnp.arange(1, order + 1, dtype=z.dtype).reshape((-1,) + (1,) * z.ndim)


def guard(terms, order, check):
    """The first omitted term relative to the sum of the terms kept, in root mean squares."""
    if not check:
        return {}
    norm = lambda x: jnp.sqrt((x * x).mean())
    left_out = norm(terms[order]) / (norm(terms[:order].sum(0)) + jnp.finfo(terms.dtype).tiny)
    jax.debug.callback(warn_left_out, left_out)
    return {"left_out": left_out}


def warn_left_out(left_out):
    if not (left_out <= WARN_ABOVE).all():
        warnings.warn(
            "fourier_series: the first omitted term exceeds 5% of the terms kept; the series may "
            "diverge. Use a smaller scale, or fourier_exact",
            stacklevel=2,
        )


def warn_infinite(infinite):
    if infinite.any():
        warnings.warn(
            "fourier_series: order >= the sum of the concentrations, where a term is infinite; "
            "the estimate is NaN. Use a lower order, or fourier_exact",
            stacklevel=2,
        )
