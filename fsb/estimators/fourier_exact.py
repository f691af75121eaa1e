"""Fourier stochastic backpropagation with its series summed in closed form."""

from __future__ import annotations

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
from fsb.estimators._tracing.taylor import coordinates, gradient
from fsb.runtime.random import split
from fsb.types import Estimator


def fourier_exact(smooth: bool = True, separable: bool = False, side: int = 64) -> Estimator:
    r"""Fourier stochastic backpropagation, with each series summed to an expectation.

    With e ~ Exp(1), s, u, v uniform, t the sum of two independent Laplace(0, b) variables, y with
    density :math:`\alpha_0 y^{\alpha_0 - 1}`, and one unit moved at a time:

    .. math::
        \mathrm{Gamma}(k, \mu):\quad & \bar k = \mu f'(z + s \mu e), \quad \bar\mu = k f'(z + \mu e)
        \\ \mathrm{Laplace}(m, b):\quad & \bar m = f'(z), \quad \bar b = 2 b f''(m + t)
        \\ \mathrm{Dirichlet}(\alpha):\quad & \bar\alpha_k = \tfrac{1}{\alpha_0}
            \nabla f(z + u (1 - y) (1_k - z)) \cdot (1_k - z), \quad \alpha_0 = \sum_k \alpha_k
        \\ \mathcal N(m, L L^T):\quad & \bar m = \nabla f(z), \quad \bar L = \nabla^2 f(z) L
        \\ \mathrm{Poisson}(\lambda):\quad & \overline{\log\lambda} = \lambda (f(z + 1) - f(z))

    Beta(a, b) is treated as Dirichlet(a, b). Without ``smooth``, the scales use first derivatives
    only: :math:`\bar b = 2 f'(m + t) \, t / (|t| + b)` and
    :math:`\bar L = \nabla f(z) (L^{-1}(z - m))^T`.
    Unbiased whenever the derivatives in the formulas exist, also where the series diverges. The
    first derivative may jump, as with ReLU. Bounded derivatives give finite variances.

    With a forward derivative each, about 2 d evaluations of the loss for d gamma units, d K for
    units of K concentrations and d for the other families, ``side`` of them at a time; two
    evaluations if ``separable``.

    Several layers: each site is estimated given those above. The sites below are resampled with the
    noise of the run. They pass their own derivative on; discrete sites, and gammas beyond the first
    order, use their scores. Discrete sites need an estimator of their own (see ``per_site``), such
    as ``local_expectation``, which is this method's rule for them (BSB, CSB). Do not combine it
    with estimators whose sites take values other than samples (Gumbel-softmax, FouST's noise).
    Examples must be independent (no BatchNorm).

    Source: "Fourier stochastic backpropagation" (submitted to ICLR 2021),
    https://openreview.net/forum?id=vkxGQB9f2Vg, eqs. 15, 16, 19-22. The sums are derived here:
    1 / (1 - s mu D) and 1 / (1 - b^2 D^2) are expectations of shifts by gamma and Laplace
    variables. For Dirichlet the sum of the gammas is integrated out as well.

    Args:
      smooth: use second derivatives for the scales of Laplace and normal sites.
      separable: whether the loss is a sum over the units of each site; not checked.
      side: number of units evaluated at a time.

    Raises:
      FsbError: if ``side`` is below 1; from the run, if a site is discrete, or if the loss has a
        kink and ``smooth`` needs its second derivative.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("z", fsb.Gamma(), eta).sum(-1)
    >>> eta = (jnp.full((1, 1), 3.0), jnp.full((1, 1), 0.5))
    >>> value, grads = fsb.value_and_grad(fsb.fourier_exact(), loss)(eta, jax.random.key(0))
    >>> [g.item() for g in grads]  # of shape times scale
    [0.5, 3.0]
    """
    if side < 1:
        raise FsbError(f"fourier_exact: side={side}: it must be at least 1")
    how = {"separable": separable, "side": side}
    order = 2 if smooth else 1
    rules: Rules = {
        Gamma: (1, partial(gamma, **how)),
        Laplace: (order, partial(laplace, smooth=smooth, **how)),
        Normal: (order, partial(normal, smooth=smooth, **how)),
        MultivariateNormal: (order, partial(multivariate_normal, smooth=smooth, **how)),
        Dirac: (1, dirac),
        Beta: (1, partial(beta, **how)),
        Dirichlet: (1, partial(dirichlet, **how)),
        Poisson: (1, partial(poisson, side=side)),
    }
    return continuous("fourier_exact", rules)


def gamma(site, f, key, separable, side):
    shape, scale = site.dist.shape_and_scale(site.eta)
    keys = split(key, 3)
    s = jax.random.uniform(keys[0], site.z.shape, site.z.dtype)
    e = jax.random.exponential(keys[1], (2, *site.z.shape), site.z.dtype)
    by_shape = scale * coordinates(f, site.z, s * scale * e[0], 1, separable, side)[0]
    by_scale = shape * coordinates(f, site.z, scale * e[1], 1, separable, side)[0]
    return pull(site.dist.shape_and_scale, site.eta, (by_shape, by_scale)), {}


def laplace(site, f, key, smooth, separable, side):
    loc, scale = site.eta
    shift = scale * jax.random.laplace(key, site.z.shape, site.z.dtype)
    if smooth:
        require_smooth(f)
        by_scale = 2 * scale * coordinates(f, site.z, shift, 2, separable, side)[1]
    else:
        t = site.z - loc + shift
        weight = 2 * t / (jnp.abs(t) + scale)
        by_scale = weight * coordinates(f, site.z, shift, 1, separable, side)[0]
    return (gradient(f, site.z), by_scale), {}


def normal(site, f, key, smooth, separable, side):
    loc, scale = site.eta
    slope = gradient(f, site.z)
    if not smooth:
        return (slope, slope * (site.z - loc) / scale), {}
    require_smooth(f)
    curvature = coordinates(f, site.z, jnp.zeros_like(loc), 2, separable, side)[1]
    return (slope, scale * curvature), {}


def multivariate_normal(site, f, key, smooth, separable, side):
    """The Hessian of each unit times its factor, one column at a time."""
    factor = jnp.tril(site.eta[1])
    slope = gradient(f, site.z)
    if not smooth:
        noise = site.dist.standardize(site.eta, site.z).astype(slope.dtype)
        return (slope, jnp.tril(slope[..., None] * noise[..., None, :])), {}
    require_smooth(f)
    masks, axes = unit_masks(site.z, separable)

    def columns(mask):
        """For the units of a mask [1, D..., 1]: d^2 f / dz dz factor, [B, D..., K, K]."""
        push = lambda v: jax.jvp(lambda z: gradient(f, z), (site.z,), (mask * v,))[1]
        pushed = jax.vmap(push, -1, -1)(factor)
        return mask[..., None] * pushed

    found = jax.lax.map(columns, masks, batch_size=max(1, side // axes)).sum(0)
    return (slope, jnp.tril(found)), {}


def dirac(site, f, key):
    return gradient(f, site.z), {}


def dirichlet(site, f, key, separable, side):
    z, total = site.z, site.eta.sum(-1, keepdims=True)
    u, v = jax.random.uniform(key, (2, *z.shape), z.dtype)
    step = u * (1 - v ** (1 / total))  # u (1 - y), one for each unit and corner
    masks, axes = unit_masks(z, separable)

    def corners(mask):
        """For the units of a mask [1, D..., 1]: derivatives towards each corner, [B, D..., K]."""

        def towards(corner, step):
            way = mask * (corner.reshape((1,) * (z.ndim - 1) + (axes,)) - z)
            slope = gradient(f, z + step[..., None] * way)
            return (slope * way).sum(-1)

        return jax.vmap(towards, (0, -1), -1)(jnp.eye(axes, dtype=z.dtype), step)

    found = jax.lax.map(corners, masks, batch_size=max(1, side // axes)).sum(0)
    return found / total, {}


def beta(site, f, key, separable, side):
    """Beta as the first of two Dirichlet shares."""
    g, notes = dirichlet(as_shares(site), lambda z: f(z[..., 0]), key, separable, side)
    return (g[..., 0], g[..., 1]), notes


def poisson(site, f, key, side):
    """Finite differences of f: one evaluation per unit, also for separable losses."""
    units = site.z[0].size
    moves = jnp.eye(units, dtype=site.z.dtype).reshape(units, 1, *site.z.shape[1:])
    found = jax.lax.map(lambda move: f(site.z + move), moves, batch_size=side)  # [U, B]
    change = (found - f(site.z)[None]).T.reshape(site.z.shape)
    return jnp.exp(site.eta) * change, {}


def as_shares(site):
    """A beta site as a Dirichlet site with K = 2."""
    z, eta = jnp.stack([site.z, 1 - site.z], -1), jnp.stack(site.eta, -1)
    return type(site)(site.name, Dirichlet(), eta, z, z)


def unit_masks(z, separable):
    """One-hot masks of the units, [units, 1, D..., 1], or a mask of all of them; and K."""
    shape = (1, *z.shape[1:-1], 1)
    units = z[0].size // z.shape[-1]
    if separable:
        return jnp.ones((1, *shape), z.dtype), z.shape[-1]
    return jnp.eye(units, dtype=z.dtype).reshape(units, *shape), z.shape[-1]


def require_smooth(f):
    name = kink(f.jaxpr)
    if name is not None:
        raise FsbError(
            f"the loss has a kink ({name}), which second derivatives miss; "
            "use fourier_exact(smooth=False)"
        )
