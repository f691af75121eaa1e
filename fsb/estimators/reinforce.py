"""REINFORCE and NVIL: score-function estimators with one evaluation."""

from __future__ import annotations

from fsb.estimators._attach import attach_scores, one_run
from fsb.estimators._baselines import Reduction, init_all, reduce_all, reduction
from fsb.estimators._turns import signal_of
from fsb.types import Estimator


def reinforce(
    centering: bool = False,
    normalization: bool = False,
    baseline: bool = False,
    hidden: int = 100,
    decay: float = 0.8,
    context: bool = False,
) -> Estimator:
    r"""REINFORCE, the score-function estimator, with the optional variance reductions of NVIL.

    .. math:: \bar\eta = \frac{f(z) - c - B(\eta)}{\max(1, \sqrt v)} \,
        \frac{\partial \log p(z)}{\partial \eta}

    with c and v the running mean and variance of the signal over earlier steps (C and VN), and B a
    network of the site's own parameters, and with ``context`` of what the loss hands over by
    ``sample.context``, trained by squared error (IDB); disabled terms are 0, 1 and 0. Unbiased,
    also with C and IDB. VN divides the estimate of a site's gradient by a positive number known
    beforehand, which acts as a step size per site. Gradients that reach eta other than through z,
    such as that of the analytic entropy in ``elbo``, are not scaled; they then outweigh the scaled
    signal and the posterior collapses. Use VN with ``sampled_elbo``.

    One evaluation of the loss. Supports every distribution.

    Several layers: the loss is the signal at each; c, v and B are separate per layer. Examples must
    be independent (no BatchNorm).

    Source: Williams 1992 (REINFORCE), doi:10.1007/BF00992696; Mnih & Gregor 2014 (NVIL),
    arXiv:1402.0030, section 2.3; names as in Gu et al. 2016 (MuProp), arXiv:1511.05176, section
    2.2.

    Args:
      centering: C, subtract the running mean.
      normalization: VN, divide by max(1, the running standard deviation).
      baseline: IDB, subtract the network's output.
      hidden: number of tanh units of the baseline.
      decay: decay of the running mean and variance per step, in [0, 1).
      context: whether the baseline sees the context of the loss too; in a training, the examples.

    Raises:
      FsbError: if ``hidden`` or ``decay`` is out of range, or a context is asked for and there is
        none, or no baseline.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: 4.0 * sample("b", fsb.Bernoulli(), eta).sum(-1)
    >>> estimate = fsb.value_and_grad(fsb.reinforce(), loss)
    >>> value, grad = estimate(jnp.zeros((1, 1)), jax.random.key(0))
    >>> (value.item(), grad.item()) in {(4.0, 2.0), (0.0, 0.0)}
    True
    """
    part = reduction("reinforce", centering, normalization, baseline, hidden, decay, context)
    return reduced("reinforce", part)


def nvil(hidden: int = 100, decay: float = 0.8, context: bool = False) -> Estimator:
    r"""NVIL: REINFORCE with centring, variance normalisation and an input-dependent baseline.

    .. math:: \bar\eta = \frac{f(z) - c - B(\eta)}{\max(1, \sqrt v)} \,
        \frac{\partial \log p(z)}{\partial \eta},

    which is ``reinforce`` with all of its reductions enabled. One evaluation of the loss. For
    evidence bounds use ``objective=sampled_elbo``, as VN scales the signal only.

    Source: Mnih & Gregor 2014 (Neural Variational Inference and Learning in Belief Networks),
    arXiv:1402.0030.

    Args:
      hidden: number of tanh units of the baseline.
      decay: decay of the running mean and variance per step.
      context: whether the baseline sees the context of the loss too, as in ``reinforce``.

    Raises:
      FsbError: if ``hidden`` or ``decay`` is out of range, or a context is asked for and there is
        none.

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
    return reduced("nvil", reduction("nvil", True, True, True, hidden, decay, context))


def reduced(name: str, part: Reduction) -> Estimator:
    """Multiplies the reduced losses of one run by the score at each site."""

    def init(key, sites):
        return init_all(part, key, sites)

    def surrogate(run, control, state, key):
        losses, sites = one_run(name, run, key, shared=True)
        signals = [signal_of(losses, site) for site in sites]
        signals, aux = reduce_all(part, signals, sites, control, state)
        return attach_scores(losses, sites, signals), aux

    return Estimator(init, surrogate)
