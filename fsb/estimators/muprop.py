"""MuProp: a score-function estimator with a Taylor expansion at a mean-field pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fsb.estimators._attach import attach_all, one_run, score, weigh
from fsb.estimators._baselines import init_all, reduce_all, reduction
from fsb.estimators._turns import over_turns
from fsb.sites import Site, mean, per_turn, replay, serve_no_scan, shifted
from fsb.types import Array, Estimator, Eta, Run


def muprop(
    rollout: bool = False,
    centering: bool = False,
    normalization: bool = False,
    baseline: bool = False,
    hidden: int = 100,
    decay: float = 0.8,
    context: bool = False,
) -> Estimator:
    r"""MuProp: backpropagation through a mean-field pass, plus REINFORCE for the remainder.

    With zb the values of a pass that sets every site to its mean, mu(eta) the mean of the site
    given the *sampled* values above, and f'(zb) the total derivative through all downstream sites,

    .. math:: \bar\eta = \big[f(z) - f(\bar z) - f'(\bar z) \cdot (z - \bar z)\big]
        \frac{\partial \log p(z)}{\partial \eta}
        + f'(\bar z) \cdot \frac{\partial \mu(\eta)}{\partial \eta}.

    Unbiased, with zero variance for one layer and a loss linear in it. Supports every distribution;
    the loss must be defined and differentiable at means.

    Costs two evaluations of the loss: one differentiated as usual and one, at means, differentiated
    with respect to the sites only.

    Several layers: the formula holds at each, with one mean-field pass through the whole model.
    With ``rollout`` there is one pass per layer, started from the values sampled above it: 1 + L
    evaluations, and a better expansion in deep networks. Examples must be independent (no
    BatchNorm).

    C, VN and IDB act on the bracket as they do on the signal of ``reinforce``. VN scales that term
    only, so the estimate is then unbiased only while the scale is 1.

    Source: Gu, Levine, Sutskever & Mnih 2016 (MuProp), arXiv:1511.05176, eq. 3 and Algorithm 1;
    rollout: section 6.

    Args:
      rollout: restart the mean-field pass at each sampled layer.
      centering: C, subtract the running mean of the bracket.
      normalization: VN, divide the bracket by max(1, its running standard deviation).
      baseline: IDB, subtract the output of a network of the site's parameters.
      hidden: number of tanh units of the baseline.
      decay: decay of the running mean and variance per step, in [0, 1).
      context: whether the baseline sees the context of the loss too, as in ``reinforce``.

    Raises:
      FsbError: if ``hidden`` or ``decay`` is out of range, or a context is asked for and there is
        none, or no baseline.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 3.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> fsb.value_and_grad(fsb.muprop(), loss)(jnp.zeros((1, 1)), jax.random.key(0))[1].item()
    0.75
    """
    part = reduction("muprop", centering, normalization, baseline, hidden, decay, context)

    def init(key, sites):
        if rollout:
            serve_no_scan("muprop(rollout=True)", sites, "rollout=False")
        return init_all(part, key, sites)

    def surrogate(run, control, state, key):
        losses, sites = one_run("muprop", run, key)
        if rollout:
            around = [expand(run, sites[:i], [site])[0] for i, site in enumerate(sites)]
        else:
            around = expand(run, (), sites)
        signals = [residual(losses, *pair) for pair in zip(sites, around, strict=True)]
        signals, aux = reduce_all(part, signals, sites, control, state)
        estimates = [
            jax.tree.map(jnp.add, weigh(signal, score(site)), pull(site, point.slope))
            for signal, site, point in zip(signals, sites, around, strict=True)
        ]
        return attach_all(losses, sites, estimates), aux

    return Estimator(init, surrogate)


class Point(NamedTuple):
    """The expansion at one site: losses [B] of the mean-field pass, value and slope [B, D...]."""

    losses: Array
    z: Array
    slope: Array


def expand(run: Run, above: Iterable[Site], sites: Iterable[Site]) -> list[Point]:
    """Expands a pass with the sites above held and all others at their means, in ``sites``."""
    held = {site.name: site.z for site in above}

    def total(shifts):
        """The slopes are the derivatives in these zero shifts only."""
        losses, passed = run(replay(held, shifted(mean(), shifts)))
        return losses.sum(), (losses, {site.name: site.z for site in passed})

    zeros = {site.name: jnp.zeros_like(site.z) for site in sites}
    slopes, (losses, z) = jax.grad(total, has_aux=True)(zeros)
    return [Point(losses, z[name], slopes[name]) for name in zeros]


def residual(losses: Array, site: Site, point: Point) -> Array:
    """f(z) - f(zb) - f'(zb) (z - zb), [B], or [B, T...] in scans."""
    linear = per_turn(point.slope * (site.z - point.z), site)
    return over_turns(losses - point.losses, site) - linear


def pull(site: Site, slope: Array) -> Eta:
    """Pulls the slope back through the site's mean; shaped like eta."""
    return jax.vjp(site.dist.mean, site.eta)[1](slope)[0]
