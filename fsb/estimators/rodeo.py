"""RODEO: leave-one-out REINFORCE with control variates from a discrete Stein operator."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from fsb.distributions import Bernoulli
from fsb.errors import FsbError
from fsb.estimators._attach import attach_all, mean_of_others, score, weigh
from fsb.estimators.double_cv import second_moment, sensitive_runs
from fsb.sites import Site, serve_all, site_key
from fsb.types import Array, Aux, Estimator, PyTree


def rodeo(
    samples: int = 2, hidden: int = 100, alpha: float = 1.0, beta: float = 0.5, every: int = 4
) -> Estimator:
    r"""RODEO: leave-one-out REINFORCE with learned control variates that have mean zero.

    For any function h of the units z of a layer, the Stein operator of the Gibbs sampler,

    .. math:: (A h)(z) = \sum_m q_m(z) \, (h(z^{(m)}) - h(z)),

    has mean 0 under the layer's distribution, where :math:`z^{(m)}` is z with unit m flipped and
    q_m the probability of its other value. With n independent runs of losses f_i,

    .. math:: \bar\eta_{i,l} = \frac1n \Bigl[ \Bigl( f_i - \tfrac{1}{n-1} \sum_{j \ne i} \bigl( f_j
        + \sum_{l'} \alpha_{l'} (A h_{j,l'})(z_{j,l'}) \bigr) \Bigr) (b_{i,l} - p_{i,l})
        + \beta_l \, (A \tilde h_{i,l})(z_{i,l}) \Bigr],

    with b = 1 where z is high. The functions of each run depend on the other runs only,

    .. math:: h_{i,l}(z) = \tfrac{1}{n-1} \sum_{k \ne i} H_l\bigl(f_k, \; g_{k,l} \cdot
        (z - z_{k,l}), \; g_{k,l} \cdot (z - \mathbb E z_{i,l})\bigr), \qquad
        \tilde h_{i,l}(z) = \tilde H_l(\ldots) \, (b - p_{i,l}),

    where g is the partial derivative of the loss in the values: the loss itself is never evaluated
    at a flipped unit. H and :math:`\tilde H` are the two outputs of a network with one layer of
    leaky-ReLU units, plus their last argument. The network's last layer is initialised to 0: with
    alpha = 1 and beta = 1/2 the first estimates are close to those of ``double_cv``; with both 0
    they are those of ``rloo``.

    Unbiased for any control: given its parents and the other runs, every term with an A has mean 0.
    (Here A is a sum over units and in the paper a mean; alpha and beta absorb the difference.)

    Costs n evaluations of the loss in parallel for any number of layers, all differentiated twice
    (with respect to the values and the params), and n (n - 1) (d + 1) evaluations of the network in
    a layer of d units; the loss must be differentiable in the values. The value is the mean over
    the runs. Examples must be independent (no BatchNorm). Supports Bernoulli sites.

    Control: alpha, beta and the network of each layer, learned by minimising the estimate's second
    moment on every ``every``-th example of a batch, since learning costs several times what the
    estimate does. ``every=1`` is the paper's (docs/performance.md: what it gives and costs).

    Source: Shi et al. 2022 (Gradient Estimation with Discrete Stein Operators), arXiv:2202.09497,
    for one layer; the first two arguments of H are the paper's.

    Args:
      samples: n >= 2.
      hidden: number of units of the network, >= 1.
      alpha, beta: initial values, for every layer. The authors start at 0.
      every: control is learned from the examples 0, every, 2 every, ... of a batch.

    Raises:
      FsbError: if ``samples``, ``hidden`` or ``every`` is out of range.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: sample("b", fsb.Bernoulli(), eta).prod(-1)
    >>> eta, key = jnp.zeros((1, 2)), jax.random.key(0)
    >>> draws = fsb.sample_gradients(fsb.rodeo(hidden=4), loss, eta, key, 10_000)
    >>> bool((abs(draws.mean(0) - 0.125) < 0.01).all())
    True
    """
    if samples < 2:
        raise FsbError(f"rodeo: samples={samples}: it must be at least 2")
    if hidden < 1:
        raise FsbError(f"rodeo: hidden={hidden}: it must be at least 1")
    if every < 1:
        raise FsbError(f"rodeo: every={every}: it must be at least 1")

    def init(key, sites):
        serve_all("rodeo", sites, Bernoulli)
        return [
            {
                "alpha": jnp.float32(alpha),
                "beta": jnp.float32(beta),
                "inner": jax.random.normal(site_key(key, site.name), (4, hidden), jnp.float32) / 2,
                "outer": jnp.zeros((hidden, 2), jnp.float32),
            }
            for site in sites
        ], ()

    def surrogate(run, control, state, key):
        losses, sites, slopes = sensitive_runs("rodeo", run, key, samples)
        runs = jax.lax.stop_gradient(losses), sites, slopes
        estimates = combine(jax.lax.stop_gradient(control), *runs)
        some = jax.tree.map(lambda x: x[:, ::every], runs)
        moment = second_moment(combine(control, *some))
        losses = jax.vmap(attach_all)(losses, sites, estimates).mean(0)
        return losses, Aux(moment, state, {})

    return Estimator(init, surrogate)


def combine(
    control: list[dict[str, PyTree]],
    losses: Array,
    sites: tuple[Site, ...],
    slopes: tuple[Array, ...],
) -> list[Array]:
    """The estimates at every site, [n, B, D...]; their mean over n runs is RODEO's."""
    baselines, extras = 0, []
    for own, site, slope in zip(control, sites, slopes, strict=True):
        scalar, vector = stein(own, site, slope, losses)
        baselines = baselines + own["alpha"] * scalar
        extras.append(own["beta"] * vector)
    signals = losses - mean_of_others(losses + baselines)
    return [
        jax.vmap(weigh)(signals, score(site)) + extra
        for site, extra in zip(sites, extras, strict=True)
    ]


def network(control: dict[str, PyTree], inputs: tuple[Array, ...], changes: Array) -> list[Array]:
    """H and H-tilde, with each of the changes added to the last two inputs."""
    inner, outer = control["inner"], control["outer"]
    start = jnp.tensordot(inner, jnp.stack([*inputs, jnp.ones_like(inputs[0])]), (0, 0))
    slope = inner[1] + inner[2]
    units = start[..., None], slope.reshape(-1, 1, 1, 1), outer.reshape(-1, 2, 1, 1, 1)
    # On a CPU one hidden unit at a time: their values at all changes would not fit in its cache.
    blocks = len(outer) if jax.default_backend() == "cpu" else 1

    @jax.checkpoint
    def add(totals, units):
        start, slope, outer = units
        hidden = jax.nn.leaky_relu(start + slope * changes[None], 0.3)
        # One sum per output: XLA is slow at the derivatives of one sum for both.
        return [total + (outer[:, i] * hidden).sum(0) for i, total in enumerate(totals)], None

    totals = [jnp.zeros(changes.shape, jnp.result_type(start, changes))] * 2
    units = jax.tree.map(lambda x: x.reshape(blocks, -1, *x.shape[1:]), units)
    totals, _ = jax.lax.scan(add, totals, units)
    return [total + inputs[2][..., None] + changes for total in totals]


def stein(
    control: dict[str, PyTree], site: Site, slopes: Array, losses: Array
) -> tuple[Array, Array]:
    """(A h_i)(z_i) [n, B] and (A h-tilde_i)(z_i) [n, B, D...] for one layer of n runs."""
    # In a scan every turn of an example is an example of its own, with the loss of all turns.
    samples, batch = losses.shape
    turns = math.prod(site.z.shape[2 : 2 + len(site.scans)])
    losses = jnp.repeat(losses, turns, 1)
    bits = site.dist.decode(site.z).reshape(samples, batch * turns, -1)
    eta, z, mean, g = (
        x.reshape(bits.shape) for x in (site.eta, site.z, site.dist.mean(site.eta), slopes)
    )
    p, sign = jax.nn.sigmoid(eta), 2 * bits - 1
    q = jax.nn.sigmoid(-sign * eta)
    low, high = site.dist.support(site.eta)
    change = jnp.where(q > 0, sign * (low - high), 0)  # deterministic units are not flipped

    def outputs(shift):
        """H and H-tilde at every run's z and its flips, from the run ``shift`` places further."""
        other_f, other_z, other_g = (jnp.roll(x, -shift, 0) for x in (losses, z, g))
        terms = [(other_g * (z - centre)).sum(-1) for centre in (other_z, mean)]
        changes = jnp.pad(other_g * change, [(0, 0)] * 2 + [(1, 0)])  # the first: none
        return network(control, (other_f, *terms), changes)

    pairs = [outputs(shift) for shift in range(1, samples)]
    scalar, other = (sum(x) / (samples - 1) for x in zip(*pairs, strict=True))  # H, H-tilde
    operator = lambda h: (q * (h[..., 1:] - h[..., :1])).sum(-1)  # A
    vector = (bits - p) * operator(other)[..., None] - q * sign * other[..., 1:]
    total = operator(scalar).reshape(samples, batch, turns).sum(-1)
    return total, vector.reshape(site.z.shape)
