"""Score-function estimators with one evaluation: REINFORCE and NVIL."""

from __future__ import annotations

from fsb.estimators._attach import attach_all, score, weigh
from fsb.estimators._baselines import Reduction, init_all, reduce_all, reduction
from fsb.sites import ancestral, frozen
from fsb.types import Estimator


def reinforce(
    centering: bool = False,
    normalization: bool = False,
    baseline: bool = False,
    hidden: int = 100,
    decay: float = 0.8,
) -> Estimator:
    r"""REINFORCE, the score-function estimator, with the variance reduction of NVIL on demand.

    .. math:: \bar\eta = \frac{f(z) - c - B(\eta)}{\max(1, \sqrt v)} \,
        \frac{\partial \log p(z)}{\partial \eta}

    with c and v the running mean and variance of the signal over earlier steps (C and VN), and B a
    network of the site's own parameters, trained by squared error (IDB); 0, 1 and 0 where they are
    not wanted. Unbiased, C and IDB included; VN multiplies the estimate of a site's gradient by a
    positive number known beforehand, so that it is a step size of the site's own. What reaches eta
    on other ways than through z is not scaled, such as the analytic entropy of ``elbo``: against a
    signal made small it wins, and the posterior collapses. VN goes with ``sampled_elbo``.

    One evaluation of the loss. Serves every family.

    Several layers: the loss is the signal at each, c, v and B are each layer's own. Examples must
    be independent (no BatchNorm).

    Source: Williams 1992; Mnih & Gregor 2014 (NVIL), section 2.3; names as in Gu et al. 2016
    (MuProp), section 2.2.

    Args:
      centering: C.
      normalization: VN.
      baseline: IDB.
      hidden: tanh units of the baseline.
      decay: of the running mean and variance, per step, in [0, 1).

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 4.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> estimate = fsb.value_and_grad(fsb.reinforce(), loss)
    >>> value, grad = estimate(jnp.zeros((1, 1)), jax.random.key(0))
    >>> (value.item(), grad.item()) in {(4.0, 2.0), (0.0, 0.0)}
    True
    """
    return reduced(reduction("reinforce", centering, normalization, baseline, hidden, decay))


def nvil(hidden: int = 100, decay: float = 0.8) -> Estimator:
    r"""NVIL: REINFORCE with centring, variance normalisation and an input-dependent baseline.

    .. math:: \bar\eta = \frac{f(z) - c - B(\eta)}{\max(1, \sqrt v)} \,
        \frac{\partial \log p(z)}{\partial \eta},

    ``reinforce`` with all of its reductions on; see there. One evaluation of the loss. For bounds
    on the evidence use ``objective=sampled_elbo``: VN scales the signal alone.

    Source: Mnih & Gregor 2014 (Neural Variational Inference and Learning in Belief Networks).

    Args:
      hidden: tanh units of the baseline.
      decay: of the running mean and variance, per step.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 1000 + sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> eta, key = jnp.zeros((50, 1)), jax.random.key(0)
    >>> control, state = fsb.init(fsb.nvil(), loss, eta, key)
    >>> step = jax.jit(fsb.stateful_value_and_grad(fsb.nvil(), loss))
    >>> first = step(eta, control, state, key)
    >>> second = step(eta, control, first.state, key)
    >>> float(abs(first.params).max()) > 9 and float(abs(second.params).max()) < 0.1
    True
    """
    return reduced(reduction("nvil", True, True, True, hidden, decay))


def reduced(part: Reduction) -> Estimator:
    """The losses of one run, after the reduction, times the score at each site."""

    def init(key, sites):
        return init_all(part, key, sites)

    def surrogate(run, control, state, key):
        losses, sites = run(frozen(ancestral(key)))
        signals, aux = reduce_all(part, [losses] * len(sites), sites, control, state)
        estimates = [weigh(s, score(site)) for s, site in zip(signals, sites, strict=True)]
        return attach_all(losses, sites, estimates), aux

    return Estimator(init, surrogate)
