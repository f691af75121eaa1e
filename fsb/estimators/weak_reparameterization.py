"""The generalised reparameterisation of gammas, by a standardisation that is only weakly free."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln, polygamma

from fsb.distributions import Gamma
from fsb.estimators._attach import weigh
from fsb.estimators._continuous import continuous, pull
from fsb.types import Estimator


def weak_reparameterization() -> Estimator:
    r"""Generalised (weak) reparameterisation of gamma units: part path, part score.

    The logarithm of z is standardised to mean 0 and variance 1, with digamma and trigamma
    functions,

    .. math:: z = \mu \exp(\varepsilon \sqrt{\psi_1(k)} + \psi(k)),

    which leaves some dependence on k in the density q of the standardised variable:

    .. math:: \bar\eta = f'(z) \frac{\partial z(\varepsilon, \eta)}{\partial \eta}
        + f(z) \frac{\partial \log q(\varepsilon; \eta)}{\partial \eta}.

    Unbiased for differentiable losses, for shapes not so small that draws underflow. One evaluation
    of the loss, differentiated; its variance lies between that of the score function and that of
    ``pathwise``. Serves Gamma sites and the families that are gammas.

    Several layers: the loss given the site's value, as with ``fourier_exact``.

    Source: Ruiz, Titsias & Blei 2016 (The generalized reparameterization gradient), section 3.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("z", fsb.Exponential(), eta).sum(-1)
    >>> estimate = fsb.value_and_grad(fsb.weak_reparameterization(), loss)
    >>> value, grad = estimate(jnp.full((1, 1), 2.0), jax.random.key(0))
    >>> bool(abs(grad.item() - value.item() / 2) < 1e-5)  # a scale has nothing left of a score
    True
    """
    return continuous("weak_reparameterization", {Gamma: (1, estimate)})


def estimate(site, f, key):
    losses, back = jax.vjp(f, site.z)
    (slope,) = back(jnp.ones_like(losses))
    shape, scale = site.dist.shape_and_scale(site.eta)
    noise = (jnp.log(site.z / scale) - digamma(shape)) / jnp.sqrt(polygamma(1, shape))

    def log_z(shape, scale):
        return noise * jnp.sqrt(polygamma(1, shape)) + digamma(shape) + jnp.log(scale)

    def log_q(shape, scale):
        """log p(z) + log dz / d noise, by log z: z itself may be too small for any precision."""
        standard = log_z(shape, scale) - jnp.log(scale)
        density = shape * standard - jnp.exp(standard) - gammaln(shape)
        return density + 0.5 * jnp.log(polygamma(1, shape))

    path = jax.vjp(lambda *eta: jnp.exp(log_z(*eta)), shape, scale)[1](slope)
    score = weigh(losses, jax.vjp(log_q, shape, scale)[1](jnp.ones_like(site.z)))
    return pull(site.dist.shape_and_scale, site.eta, jax.tree.map(jnp.add, path, score)), {}
