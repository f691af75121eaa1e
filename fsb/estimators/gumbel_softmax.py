"""Gumbel-Softmax (Concrete) relaxations of discrete units."""

from __future__ import annotations

import jax

from fsb.distributions import Bernoulli, Categorical, TopK
from fsb.estimators.local import check_temperature, pretend, softmax_pull
from fsb.sites import softened
from fsb.types import Estimator


def gumbel_softmax(temperature: float = 0.5) -> Estimator:
    r"""Gumbel-Softmax / binary Concrete: runs the model on a relaxed sample.

    With logistic noise l = logit(u), u ~ U(0, 1), and L = high - low,

    .. math:: v = \sigma((\eta + l)/\tau), \quad z = \text{low} + L v, \quad
        \bar\eta = g \, L \, v (1 - v) / \tau.

    Categorical units, with Gumbel noise on each of the K logits: z = v = softmax((eta + noise)/tau)
    and eta_bar = (diag(v) - v v^T) g / tau. ``TopK`` units: z = v is k such softmax functions, one
    after the other (``TopK.soften``), and eta_bar the derivative of v.

    Biased: of order tau^2 for linear losses and of order tau in general; the variance grows as
    1/tau. The value is also that of the relaxed run. One evaluation of the loss.

    Source: Jang, Gu & Poole 2017 (Categorical Reparameterization with Gumbel-Softmax),
    arXiv:1611.01144; Maddison, Mnih & Teh 2017 (The Concrete Distribution), arXiv:1611.00712; bias
    and variance: Shekhovtsov 2021, arXiv:2110.03549, Propositions 1-4; for ``TopK`` Xie & Ermon
    2019 (Reparameterizable Subset Sampling via Continuous Relaxations), arXiv:1901.10517.

    Args:
      temperature: tau > 0.

    Raises:
      FsbError: if ``temperature`` is not positive and finite.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> estimate = fsb.value_and_grad(fsb.gumbel_softmax(), loss)
    >>> value, grad = estimate(jnp.zeros((1, 1)), jax.random.key(0))
    >>> bool(abs(grad[0, 0] - value * (1 - value) / 0.5) < 1e-6)
    True
    """
    check_temperature(temperature)

    def draw(noise, eta, dist):
        z = softened(noise, eta, dist, temperature)
        return z, dist.from_noise(noise, eta), residual(noise, z, dist)

    return pretend("gumbel_softmax", all_pulls(temperature), draw)


def st_gumbel_softmax(temperature: float = 0.5) -> Estimator:
    r"""Straight-through Gumbel-Softmax: hard samples forward, the relaxed derivative backward.

    .. math:: z = \text{low} + L\,[\eta + l > 0], \quad
        \bar\eta = g \, L \, v (1 - v)/\tau, \quad v = \sigma((\eta + l)/\tau)

    with the same noise l in both; likewise for categorical and ``TopK`` units. As tau -> 0 its mean
    tends to that of DARN (ZGR for categorical units), so it is then unbiased for quadratic losses;
    its variance grows as 1/tau. One evaluation of the loss.

    Source: Jang, Gu & Poole 2017 (Categorical Reparameterization with Gumbel-Softmax),
    arXiv:1611.01144, section 2.2; Shekhovtsov 2021, arXiv:2110.03549, eq. 13 and Proposition 5; for
    ``TopK`` Xie & Ermon 2019, arXiv:1901.10517.

    Args:
      temperature: tau > 0.

    Raises:
      FsbError: if ``temperature`` is not positive and finite.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> estimate = fsb.value_and_grad(fsb.st_gumbel_softmax(), loss)
    >>> value, grad = estimate(jnp.zeros((1, 1)), jax.random.key(0))
    >>> value.item() in (0.0, 1.0)
    True
    """
    check_temperature(temperature)

    def draw(noise, eta, dist):
        hard = dist.from_noise(noise, eta)
        return hard, hard, residual(noise, softened(noise, eta, dist, temperature), dist)

    return pretend("st_gumbel_softmax", all_pulls(temperature), draw)


def decoupled_st_gumbel_softmax(
    forward_temperature: float = 1.0, backward_temperature: float = 1.0
) -> Estimator:
    r"""Decoupled straight-through Gumbel-Softmax: a temperature for the draw, one for the slope.

    With the same logistic noise l in both,

    .. math:: z = \text{low} + L\,[\eta/\tau_f + l > 0], \quad
        \bar\eta = g \, L \, v (1 - v)/\tau_b, \quad v = \sigma(\eta/\tau_b + l).

    Categorical units, with Gumbel noise: z is the one-hot argmax of eta / tau_f + noise, and
    eta_bar = (diag(v) - v v^T) g / tau_b with v = softmax(eta / tau_b + noise).

    A temperature divides the logits here and not the noise. (In ``st_gumbel_softmax`` it divides
    both, so that a hard draw does not depend on it.) Hence z is a draw of the distribution with the
    logits eta / tau_f: more even for tau_f > 1, more certain for tau_f < 1. With tau_f = 1 the
    draws are those of the model. With any other the loss, and its value, are those of the model
    with tempered units, while a ``log_prob`` or an entropy in the loss is still that of eta.

    Biased even for linear losses. With tau_f = tau_b = tau it is ``st_gumbel_softmax(1.0)`` at
    eta / tau, differentiated in eta. One evaluation of the loss.

    Source: Shah, Yan, Mozer & Liu 2024 (Improving Discrete Optimisation Via Decoupled
    Straight-Through Gumbel-Softmax), arXiv:2410.13331, version 1.

    Args:
      forward_temperature: tau_f > 0.
      backward_temperature: tau_b > 0.

    Raises:
      FsbError: if a temperature is not positive and finite.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> eta = jnp.full((20_000, 1), 2.0)
    >>> for tau_f in (1.0, 4.0):  # the draws are those of the logit 2 / tau_f
    ...     estimator = fsb.decoupled_st_gumbel_softmax(tau_f)
    ...     value, _ = fsb.value_and_grad(estimator, loss)(eta, jax.random.key(0))
    ...     print(bool(abs(value - jax.nn.sigmoid(2.0 / tau_f)) < 0.01))
    True
    True
    """
    check_temperature(forward_temperature, "forward_temperature")
    check_temperature(backward_temperature, "backward_temperature")

    def draw(noise, eta, dist):
        forward, backward = (
            (eta / tau).astype(eta.dtype) for tau in (forward_temperature, backward_temperature)
        )
        hard = dist.from_noise(noise, forward)
        return hard, hard, softened(noise, backward, dist, 1.0)

    return pretend("decoupled_st_gumbel_softmax", relaxed_pulls(backward_temperature), draw)


def relaxed_pulls(temperature):
    """L v (1 - v) / tau for a relaxed value low + L v; J(v) / tau for categorical units."""

    def boolean(g, drawn, dist):
        v = dist.decode(drawn.extra)
        return g * dist.span * v * (1 - v) / temperature

    def categorical(g, drawn, dist):
        return softmax_pull(drawn.extra, g) / temperature

    return {Bernoulli: boolean, Categorical: categorical}


def all_pulls(temperature):
    """As above, and for ``TopK`` the derivative of its relaxed value."""

    def top_k(g, drawn, dist):
        value = lambda eta: softened(drawn.extra, eta, dist, temperature)
        return jax.vjp(value, drawn.eta)[1](g)[0]

    return relaxed_pulls(temperature) | {TopK: top_k}


def residual(noise, v, dist):
    """What the derivative is computed from: the relaxed value, or the noise for ``TopK``."""
    return noise if isinstance(dist, TopK) else v
