"""Correlated samples of a local estimator, coupled by the noise operator."""

from __future__ import annotations

from dataclasses import field

import jax
import jax.numpy as jnp

from fsb.constraints import known
from fsb.errors import FsbError
from fsb.estimators.average import average
from fsb.runtime.random import split
from fsb.sites import Site, sampler, site_key
from fsb.types import Array, Aux, Estimator, PRNGKey, Rule


def noise_operator(
    estimator: Estimator, rho: float = 0.9, samples: int = 5, correlated: bool = True
) -> Estimator:
    r"""The mean of a local estimator over M neighbours of one sample.

    N_rho keeps each unit of x with probability rho and resamples it otherwise. With J the estimate,

    .. math:: \bar\eta = \tfrac1M \sum_{m} J(x'_m), \quad x'_m \sim N_\rho(x), \quad
        \mathrm{Var} = \tfrac1M \mathrm{Var} J + (1 - \tfrac1M)\, \mathrm{Var}(T_\rho J)

    for one layer, where T_rho J(x) = E J(N_rho(x)). The bias is that of J. As Var(T_rho J) >= 0, M
    correlated samples are never better than M independent ones (``correlated=False``) of the same
    cost.

    Several layers: the noise of each unit is kept or resampled. Costs M evaluations of the loss.
    The value is the mean over the M runs; x itself is not evaluated.

    Source: Pervez, Cohen & Gavves 2020 (FouST), https://proceedings.mlr.press/v119/pervez20a.html,
    section 4.2; Shekhovtsov 2021, arXiv:2110.03549, eq. 24 and Proposition 9.

    Args:
      estimator: a local estimator.
      rho: probability of keeping a unit, in [0, 1].
      samples: M >= 1.
      correlated: if False, uses M independent runs and ignores rho.

    Raises:
      FsbError: if the estimator is not local, or an argument is out of range.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: (sample("b", fsb.Bernoulli(), eta) - 0.45).sum(-1) ** 2
    >>> draws = lambda e: fsb.sample_gradients(
    ...     e, loss, jnp.zeros((1, 4)), jax.random.key(0), 4000).var(0).sum().item()
    >>> draws(fsb.noise_operator(fsb.darn())) > draws(fsb.average(fsb.darn(), 5))
    True
    """
    if known(rho) and not 0 <= rho <= 1:
        raise FsbError(f"noise_operator: rho={rho}: it must lie in [0, 1]")
    if samples < 1:
        raise FsbError(f"noise_operator: samples={samples}: it must be at least 1")
    if estimator.rule is None:
        raise FsbError("noise_operator: needs a local estimator, such as st or darn")
    if not correlated:
        return average(estimator, samples)
    rule = estimator.rule

    def surrogate(run, control, state, key):
        keys = split(key, samples)
        losses = jax.vmap(lambda own: run(neighbour(rule, rho, key, own))[0])(keys)
        return losses.mean(0), Aux(0.0, state, {})

    return Estimator(estimator.init, surrogate)


@sampler
class neighbour:
    """Applies a rule to noise that is shared with probability rho, unit by unit, or else fresh."""

    rule: Rule = field(metadata={"static": True})
    rho: Array | float
    key: PRNGKey
    own: PRNGKey

    def __call__(self, name, dist, eta):
        rule = self.rule
        keep_key, fresh_key = split(site_key(self.own, name), 2)
        shared = rule.noise(site_key(self.key, name), eta, dist)
        fresh = rule.noise(fresh_key, eta, dist)
        units = jax.eval_shape(dist.entropy, eta).shape
        keep = jax.random.bernoulli(keep_key, self.rho, units)

        def mix(a, b):
            return jnp.where(keep.reshape(units + (1,) * (a.ndim - keep.ndim)), a, b)

        return Site(name, dist, eta, *rule.draw(jax.tree.map(mix, shared, fresh), eta, dist))

    def block(self, block):
        keys = block.keys(self.key), block.keys(self.own)
        return neighbour(self.rule, block.every(self.rho), *keys)
