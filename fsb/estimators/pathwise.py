"""The pathwise (reparameterisation) estimator."""

from __future__ import annotations

from fsb.errors import FsbError
from fsb.estimators.local import local
from fsb.types import Estimator


def pathwise() -> Estimator:
    r"""Pathwise (reparameterisation): differentiates through the sample.

    z = T(noise, eta), where the noise does not depend on eta, so

    .. math:: \bar\eta = g \, \partial T(\text{noise}, \eta) / \partial \eta.

    Unbiased for losses that are continuous and differentiable almost everywhere. One evaluation of
    the loss. Supports distributions with differentiable samples (``reparameterized``), such as
    ``Normal``.

    Source: Kingma & Welling 2014 (Auto-Encoding Variational Bayes), arXiv:1312.6114; Rezende,
    Mohamed & Wierstra 2014 (Stochastic Backpropagation), arXiv:1401.4082.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("z", fsb.Normal(), eta).sum(-1)
    >>> eta = (jnp.zeros((1, 1)), jnp.ones((1, 1)))
    >>> estimate = fsb.value_and_grad(fsb.pathwise(), loss)
    >>> value, (loc_grad, scale_grad) = estimate(eta, jax.random.key(0))
    >>> loc_grad.item(), scale_grad.item() == value.item()
    (1.0, True)
    """

    def noise(key, eta, dist):
        if not dist.reparameterized:
            raise FsbError(
                f"pathwise needs a reparameterised distribution such as Normal, "
                f"not {type(dist).__name__}"
            )
        return dist.noise(key, eta)

    def draw(noise, eta, dist):
        z = dist.from_noise(noise, eta)
        return z, z

    return local(draw, noise)
