"""ReDGE: the derivative through a few steps of a denoising diffusion that ends at the unit."""

from __future__ import annotations

from itertools import pairwise

import jax

from fsb.constraints import known
from fsb.distributions import Bernoulli, Categorical
from fsb.distributions.bernoulli import noise_dtype
from fsb.distributions.categorical import bounded, flat_softmax
from fsb.errors import FsbError
from fsb.estimators.local import local, plain_noise
from fsb.runtime.random import fold_in
from fsb.sites import serve
from fsb.types import Estimator


def redge(end: float = 0.5, steps: int = 4) -> Estimator:
    r"""ReDGE: straight-through from a draw to the denoiser that drew it.

    A one-hot value x_0 is noised to :math:`x_t = (1 - t)\, x_0 + t\, \epsilon` with a Gaussian
    epsilon. Its mean given x_t, the denoiser, is a softmax. From pure noise, n times from
    :math:`t_n = 1` down to :math:`t_1` = ``end`` lead back:

    .. math:: v_i = \mathrm{softmax}\Big(\eta + \tfrac{1 - t_i}{t_i^2}\, x_i\Big), \quad
        x_n = \epsilon, \quad
        x_{i-1} = (1 - t_{i-1})\, v_i + \tfrac{t_{i-1}}{t_i} \bigl(x_i - (1 - t_i)\, v_i\bigr).

    The draw z is one of the probabilities :math:`v_1`, and :math:`\bar\eta` is
    :math:`(\partial v_1 / \partial \eta)^T g`, through all steps. Boolean units: the same for two
    values of logits eta and 0.

    With ``end`` = 1 it is ``st``. Towards 0 the draw is settled before it is made, and the variance
    grows. **The draws are not quite those of the model**: their probabilities :math:`E v_1` are
    :math:`\mathrm{softmax}(\eta)` for ``end`` = 1 or many steps only. For a Boolean unit of
    probability 0.881, ``end`` = 0.5 gives 0.891, 0.885, 0.883 and 0.881 with 2, 4, 8 and 64 steps.
    Biased even for linear losses. One evaluation of the loss.

    Source: Gourevitch et al. 2026 (Categorical Reparameterization with Denoising Diffusion models),
    arXiv:2601.00781, with hard draws; its code starts at the time 0.9999, not 1.

    Args:
      end: the time of the last step, in (0, 1].
      steps: n >= 2, the times from 1 to ``end``, evenly spaced.

    Raises:
      FsbError: if an argument is out of range.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> fsb.value_and_grad(fsb.redge(end=1.0), loss)(jnp.zeros((1, 1)), jax.random.key(0))[1].item()
    0.25
    """
    if known(end) and not 0 < end <= 1:
        raise FsbError(f"redge: end={end}: it must be in (0, 1]")
    if steps < 2:
        raise FsbError(f"redge: steps={steps}: it must be at least 2")

    def noise(key, eta, dist):
        serve("redge", dist, Bernoulli, Categorical)
        own = plain_noise(key, eta, dist)
        return own, jax.random.normal(fold_in(key, 1), own.shape, own.dtype)

    def draw(noise, eta, dist):
        own, x = noise
        logits = eta.astype(noise_dtype(eta))
        if isinstance(dist, Bernoulli):
            last = denoised(logits, 2**0.5 * x, lambda logits: 2 * jax.nn.sigmoid(logits) - 1)
        else:
            last = denoised(bounded(logits), x, flat_softmax)
        hard = jax.lax.stop_gradient(dist.from_noise(own, last)).astype(eta.dtype)
        v = dist.mean(last)
        return hard + (v - jax.lax.stop_gradient(v)).astype(eta.dtype), hard

    def denoised(eta, x, mean):
        """The logits of the value given x at the last time; for Boolean units, x is x^1 - x^0."""
        times = [1 - (1 - end) * i / (steps - 1) for i in range(steps)]
        for before, after in pairwise(times):
            v = mean(eta + (1 - before) / before**2 * x)
            x = (1 - after) * v + after / before * (x - (1 - before) * v)
        return eta + (1 - end) / end**2 * x

    return local(draw, noise)
