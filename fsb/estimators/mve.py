"""MVE: the minimum-variance local estimator for a given bias on quadratic losses."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fsb.constraints import known
from fsb.distributions import Bernoulli, Categorical
from fsb.distributions.bernoulli import noise_dtype
from fsb.errors import FsbError
from fsb.estimators.local import half_slope, mean_slope, plain_noise, pretend, softmax_pull
from fsb.types import Array, Estimator

MOST_VALUES = 64


def mve(t: float = 1.0) -> Estimator:
    r"""MVE(t): from straight-through to the minimum-variance estimator exact for quadratics.

    Among all estimators W_z g, with z the one-hot sample, that are unbiased for linear losses, it
    minimises

    .. math:: E\,\lVert W_z \rVert^2 + t\,\lVert B \rVert^2, \qquad \langle B_r, A \rangle =
        \text{bias of } \bar\eta_r \text{ for the loss } \tfrac12 z^\top A z,

    in Frobenius norms, A symmetric. t = 0 is straight-through. With t = inf (``float("inf")``) it
    is unbiased for losses quadratic in each unit, as is ``zgr``, which has more variance for K > 2
    values. For categorical units it solves one K x K system per unit, K <= 64.

    Boolean units, with s = +1 for high, -1 for low, L = high - low, v = sigmoid(eta) sigmoid(-eta):

    .. math:: \bar\eta = g\, L\, v\, \frac{1 + t\,\sigma(-s\,\eta)}{1 + 2\,t\,v},

    which is DARN for t = inf.

    One evaluation of the loss.

    Source: Hooper & Shekhovtsov 2026 (Generalized and Optimal Straight-Through Estimators),
    https://openreview.net/forum?id=5LZQfHUVER, for t = inf and the Boolean form; for categorical
    units with finite t, the criterion above includes both as special cases.

    Args:
      t: weight of the bias against the variance, in [0, 1e4] (larger values lose single precision),
        or inf.

    Raises:
      FsbError: if ``t`` is out of range or, when first traced, if a unit has more than 64 values.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 3.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> fsb.value_and_grad(fsb.mve(0.0), loss)(jnp.zeros((1, 1)), jax.random.key(0))[1].item()
    0.75
    """
    if known(t) and not (0 <= t <= 1e4 or t == float("inf")):
        raise FsbError(f"mve: t={t}: it must lie in [0, 1e4] or be inf")
    alpha = 2 / (2 + t)  # 1 for straight-through, 0 for t = inf
    beta = 1 - alpha

    def noise(key, eta, dist):
        if isinstance(dist, Categorical) and eta.shape[-1] > MOST_VALUES:
            raise FsbError(
                f"mve: {eta.shape[-1]} values per unit: at most {MOST_VALUES} are supported"
            )
        return plain_noise(key, eta, dist)

    def boolean(g, drawn, dist):
        # The formula, as a mixture of the straight-through and DARN slopes.
        mean, half = mean_slope(drawn.eta, dist), half_slope(drawn.eta, drawn.hard, dist)
        bias = 4 * beta * mean / dist.span
        share = jnp.where(mean > 0, bias / (alpha + bias), 0)
        return g * ((1 - share) * mean + share * half)

    def categorical(g, drawn, dist):
        eta, g = (x.astype(noise_dtype(x)) for x in (drawn.eta, g))
        hard, p = drawn.hard.astype(g.dtype), jax.nn.softmax(eta)
        return softmax_pull(p, before_softmax(p, hard, g, alpha, beta))

    return pretend("mve", {Bernoulli: boolean, Categorical: categorical}, noise=noise)


def before_softmax(p: Array, hard: Array, g: Array, alpha: float, beta: float) -> Array:
    r"""The vector that (diag(p) - p p^T) maps to the estimate; for straight-through it is g.

    Let s = t/2 = beta/alpha and D be the sampled value. With Lagrange multipliers mu_j for the
    linear losses, and h a row of J(p), the criterion is minimised by rows of W with

    .. math:: p_i W_{ij} = p_i \frac{(1 + s p_j)\,\mu_j - s p_j\,\mu_i}{1 + s\,(p_i + p_j)}
        + [i = j]\, \frac{s\, p_i\, h_i}{1 + 2 s p_i},

    and sum_i p_i W_ij = h_j is a symmetric system M mu = rho h. Only its adjoint is needed, so one
    solve M x = a is enough for all rows. Everything is scaled by the root of alpha + beta p, which
    makes values of probability zero safe.
    """
    p = jnp.maximum(p, 1e-20)
    root = jnp.sqrt(alpha + beta * p)
    pairs = 1 / (alpha + beta * (p[..., :, None] + p[..., None, :]))
    scaled = p / root
    links = scaled[..., :, None] * scaled[..., None, :]
    degree = (pairs * p[..., None, :]).sum(-1)
    matrix = jnp.vectorize(jnp.diag, signature="(k)->(k,k)")(degree) - beta * pairs * links
    if known(alpha) and alpha == 0:
        matrix = matrix + links  # fills the null space, to which the right side is orthogonal
    own = (pairs * hard[..., None, :]).sum(-1)  # the row of D
    right = root * own * g - hard * beta * (p * own * g).sum(-1, keepdims=True) / root
    x = jnp.linalg.solve(matrix, right[..., None])[..., 0]
    same = 1 / (alpha + 2 * beta * p)
    return same * (root * x + beta * hard * g)
