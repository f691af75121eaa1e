"""MVE: the local estimator of least variance for its bias on quadratic losses."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli, Categorical
from fsb.distributions.bernoulli import noise_dtype
from fsb.errors import FsbError
from fsb.estimators.local import half_slope, mean_slope, plain_noise, pretend, softmax_pull
from fsb.types import Array, Estimator

MOST_VALUES = 64


def mve(t: float = 1.0) -> Estimator:
    r"""MVE(t): between straight-through and the least noisy estimator exact for quadratics.

    Of all estimators W_z g, with z the one-hot draw, that are right on average for linear losses
    it takes the one that minimises

    .. math:: E\,\lVert W_z \rVert^2 + t\,\lVert B \rVert^2, \qquad \langle B_r, A \rangle =
        \text{bias of } \bar\eta_r \text{ for the loss } \tfrac12 z^\top A z,

    in Frobenius norms, A symmetric. t = 0 is straight-through. With t = inf (``float("inf")``) it
    is unbiased for losses quadratic in each unit, as ``zgr`` is, which is noisier for K > 2 values.
    For categorical units a K x K system is solved per unit, K <= 64.

    Boolean units, with s = +1 for high, -1 for low, L = high - low, v = sigmoid(eta) sigmoid(-eta):

    .. math:: \bar\eta = g\, L\, v\, \frac{1 + t\,\sigma(-s\,\eta)}{1 + 2\,t\,v},

    which for t = inf is DARN.

    One evaluation of the loss.

    Source: Hooper & Shekhovtsov 2026 for t = inf and the Boolean form; for categorical units with
    finite t the criterion above is the one that has both as special cases.

    Args:
      t: weight of the bias against the variance, between 0 and 1e4 (beyond, single precision
        would show), or inf.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 3.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> fsb.value_and_grad(fsb.mve(0.0), loss)(jnp.zeros((1, 1)), jax.random.key(0))[1].item()
    0.75
    """
    if not (0 <= t <= 1e4 or t == float("inf")):
        raise FsbError(f"mve: t={t}: it must lie in [0, 1e4] or be inf")
    alpha = 2 / (2 + t)  # 1 for straight-through, 0 for t = inf
    beta = 1 - alpha

    def noise(key, eta, dist):
        if isinstance(dist, Categorical) and eta.shape[-1] > MOST_VALUES:
            raise FsbError(f"mve: {eta.shape[-1]} values a unit: at most {MOST_VALUES}")
        return plain_noise(key, eta, dist)

    def boolean(g, drawn, dist):
        # The formula as a mixture of the slopes of straight-through and DARN.
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
    r"""What (diag(p) - p p^T) makes the estimate of: straight-through has g itself here.

    Write s = t/2 = beta/alpha and D for the drawn value. With Lagrange multipliers mu_j for the
    linear losses the minimum of the criterion is, row by row of W and with h that row of J(p),

    .. math:: p_i W_{ij} = p_i \frac{(1 + s p_j)\,\mu_j - s p_j\,\mu_i}{1 + s\,(p_i + p_j)}
        + [i = j]\, \frac{s\, p_i\, h_i}{1 + 2 s p_i},

    and sum_i p_i W_ij = h_j is a symmetric system M mu = rho h, of which only the adjoint is
    needed here: solve M x = a once for all rows. All is scaled by the root of alpha + beta p,
    which keeps values of probability zero harmless.
    """
    p = jnp.maximum(p, 1e-20)
    spread = alpha + beta * p
    root = jnp.sqrt(spread)
    pairs = 1 / (alpha + beta * (p[..., :, None] + p[..., None, :]))
    scaled = p / root
    links = scaled[..., :, None] * scaled[..., None, :]
    degree = (pairs * p[..., None, :]).sum(-1)
    matrix = jnp.vectorize(jnp.diag, signature="(k)->(k,k)")(degree) - beta * pairs * links
    if alpha == 0:
        matrix = matrix + links  # fills the null space, in which the right side has no part
    own = (pairs * hard[..., None, :]).sum(-1)  # the pairs of D
    right = root * own * g - hard * beta * (p * own * g).sum(-1, keepdims=True) / root
    x = jnp.linalg.solve(matrix, right[..., None])[..., 0]
    same = 1 / (alpha + 2 * beta * p)
    return same * (root * x + beta * hard * g)
