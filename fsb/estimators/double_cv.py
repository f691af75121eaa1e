"""Double control variates: leave-one-out REINFORCE with a linearised loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli, Categorical
from fsb.errors import FsbError
from fsb.estimators._attach import attach_all, mean_of_others, score, weigh
from fsb.runtime.random import split
from fsb.sites import Site, ancestral, frozen, per_example, serve_all, serve_batch, shifted
from fsb.types import Array, Aux, Estimator, Run


def double_cv(samples: int = 2, alpha: float = -1.0, learn: bool = True) -> Estimator:
    r"""Double CV: leave-one-out REINFORCE with control variates in the signal and its baseline.

    For n independent runs, let f_i be the losses, :math:`g_{j,l}` the partial derivative of f_j
    with respect to the value of layer l, :math:`\bar g_{-i,l}` its mean over all runs but i,
    :math:`\mu_{i,l} = \mathbb E[z_{i,l} \mid` parents], and

    .. math:: F_i = f_i + \sum_l \alpha_l \, \bar g_{-i,l} \cdot (z_{i,l} - \mu_{i,l}), \qquad
        \bar\eta_{i,l} = \frac1n \Bigl[ \bigl( F_i - \tfrac{1}{n-1} \sum_{j \ne i} F_j \bigr)
        \frac{\partial \log p(z_{i,l})}{\partial \eta_{i,l}}
        - \alpha_l \, \bar g_{-i,l}^T \frac{\partial \mu_{i,l}}{\partial \eta_{i,l}} \Bigr].

    Unbiased for any alpha: given the other runs, the terms of F_i below layer l have mean 0 and
    those above are constant, so that they multiply a score of mean 0; the mean of the term of l
    itself is subtracted, and F_j has the mean of f_j. With one layer and a loss linear in it,
    alpha = -1 gives zero variance. Supports Bernoulli and Categorical sites.

    Costs n evaluations of the loss in parallel for any number of layers, all differentiated twice
    (with respect to the values and the params); the loss must be differentiable in the values. The
    value is the mean over the runs. Examples must be independent (no BatchNorm).

    Source: Titsias & Shi 2022 (Double Control Variates for Gradient Estimation in Discrete Latent
    Variable Models), arXiv:2111.05300, for one layer.

    Args:
      samples: n >= 2.
      alpha: initial value, for every layer; near -1 if the loss is nearly linear.
      learn: whether the alphas are control parameters, learned by minimising the estimate's second
        moment.

    Raises:
      FsbError: if ``samples`` is less than 2.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 3 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> estimator = fsb.double_cv(learn=False)
    >>> fsb.value_and_grad(estimator, loss)(jnp.zeros((1, 3)), jax.random.key(0))[1].tolist()
    [[0.75, 0.75, 0.75]]
    """
    if samples < 2:
        raise FsbError(f"double_cv: samples={samples}: it must be at least 2")

    def init(key, sites):
        serve_all("double_cv", sites, Bernoulli, Categorical)
        return (jnp.full(len(sites), alpha, jnp.float32) if learn else ()), ()

    def surrogate(run, control, state, key):
        losses, sites, slopes = sensitive_runs("double_cv", run, key, samples)
        signals, corrections = jax.lax.stop_gradient(losses), []
        alphas = control if learn else [alpha] * len(sites)
        for a, site, slope in zip(alphas, sites, slopes, strict=True):
            others = mean_of_others(slope)
            mean, pull = jax.vjp(site.dist.mean, site.eta)
            signals = signals + a * jax.vmap(per_example)(others * (site.z - mean))
            corrections.append(a * pull(others)[0])
        signals = signals - mean_of_others(signals)
        estimates = [
            jax.vmap(weigh)(signals, score(site)) - correction
            for site, correction in zip(sites, corrections, strict=True)
        ]
        objective = second_moment(estimates) if learn else 0.0
        losses = jax.vmap(attach_all)(losses, sites, estimates).mean(0)
        return losses, Aux(objective, state, {})

    return Estimator(init, surrogate)


def sensitive_runs(
    name: str, run: Run, key: Array, samples: int
) -> tuple[Array, tuple[Site, ...], tuple[Array, ...]]:
    """``several_runs``, with the partial derivatives of each run's losses in its sites' values.

    Partial: all other values are held fixed. All arrays have a leading axis [n].
    """
    losses, shapes = jax.eval_shape(lambda: run(ancestral(key)))
    serve_batch(name, losses, shapes)
    zeros = {site.name: jnp.zeros(site.z.shape, site.z.dtype) for site in shapes}

    def one(key):
        draw = frozen(ancestral(key))
        moved = lambda shifts: run(shifted(draw, shifts))
        losses, pull, sites = jax.vjp(moved, zeros, has_aux=True)
        (slopes,) = pull(jnp.ones_like(losses))
        return losses, sites, tuple(jax.lax.stop_gradient(slopes[site.name]) for site in sites)

    return jax.vmap(one)(split(key, samples))


def second_moment(estimates: list[Array]) -> Array:
    """Squared norm of the mean estimate over runs, per example, averaged over examples.

    The mean over runs estimates the derivative in an offset added to eta in every run.
    """
    return sum((per_example(g.mean(0) ** 2).mean() for g in estimates), jnp.float32(0))
