"""Runs: a loss, called with a function that samples its sites and records them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import jax
import jax.extend.core
import jax.numpy as jnp

from fsb.constraints import checked_losses, checked_site
from fsb.errors import FsbError
from fsb.runtime.trees import arrays
from fsb.sites.misplaced import refuse_misplaced
from fsb.sites.samplers import Sampler, ancestral
from fsb.sites.site import Site, per_example
from fsb.types import Array, Distribution, Eta, Loss, PyTree, Run, Sample

T = TypeVar("T")


class Recorder:
    """``sample(name, dist, eta) -> z``: the function that a model calls, and the sites it sampled.

    sampler: gives the sites their values.
    batched: whether the first axis of the sites counts examples; not so within ``fsb.vmap``.
    sites: those sampled until now, in ancestral order.
    costs: terms of the losses, each with the number of sites sampled before it and the scan that
      it was summed in, if any: [B] or [B, T].
    given: the context of baselines, if the loss has one.
    """

    def __init__(self, sampler: Sampler, batched: bool = True):
        self.sampler, self.batched = sampler, batched
        self.sites: list[Site] = []
        self.costs: list[tuple[int, Array, str | None]] = []
        self.given: Array | None = None
        self._trace = jax.extend.core.get_opaque_trace_state(convention="flax")

    def __call__(self, name: str, dist: Distribution, eta: Eta) -> Array:
        self.check(name)
        self.add(self.sampler(name, dist, checked_site(name, dist, eta)))
        return self.sites[-1].z

    def cost(self, value: Array) -> None:
        """Adds a term [B] to the losses, which the sites that are sampled later cannot change.

        Score-function estimators (``reinforce``, ``nvil``, ``rloo``) then weigh the score of a site
        with the terms behind it alone; in a scan, with those of its own turn and of later ones.

        Source: Schulman et al. 2015 (Gradient Estimation Using Stochastic Computation Graphs),
        arXiv:1506.05254, theorem 1.

        Raises:
          FsbError: if the value has another shape, [] in a model of one example.

        >>> import jax, jax.numpy as jnp, fsb
        >>> def loss(eta, sample):
        ...     def turn(carry, _, sample):
        ...         sample.cost(sample("b", fsb.Bernoulli(), eta)[:, 0])
        ...         return carry, None
        ...     fsb.scan(turn, sample, 0, length=3)
        ...     return jnp.zeros(len(eta))
        >>> fsb.exact_gradient(loss, jnp.zeros((1, 1))).item()
        0.75
        """
        self.check("cost")
        if jnp.ndim(value) != int(self.batched):
            one = "one number for each example, [B]" if self.batched else "a single number"
            raise FsbError(f"sample.cost: a cost must be {one}; got the shape {jnp.shape(value)}")
        self.costs.append((len(self.sites), value, None))

    def context(self, value: Array) -> None:
        """Hands numbers [B, ...] to the baselines that take them: ``nvil(context=True)`` and such.

        Without them a baseline sees the parameters of its own site alone, and cannot know what the
        losses depend on beside, such as the target of a prediction. A context leaves the estimate
        unbiased, as it is known before the first site is sampled.

        Raises:
          FsbError: if a site has been sampled, there is a context already, or it has no rows.

        >>> import jax, jax.numpy as jnp, fsb
        >>> def loss(eta, sample, target=jnp.arange(6.0)):
        ...     sample.context(target)
        ...     return 1000 * target + sample("b", fsb.Bernoulli(), eta)[:, 0]
        >>> estimator, eta, key = fsb.nvil(context=True), jnp.zeros((6, 1)), jax.random.key(0)
        >>> fsb.init(estimator, loss, eta, key)[0]["b"][1]["in"].shape  # eta and the target
        (2, 100)
        """
        self.check("context")
        if self.sites or self.given is not None:
            raise FsbError(
                "sample.context: hand it over once, before the first site is sampled, so that it "
                "cannot depend on a draw"
            )
        if not jnp.ndim(value):
            raise FsbError("sample.context: it must have one row for each example, [B, ...]")
        self.given = jnp.reshape(value, (len(value), -1))

    def check(self, name: str) -> None:
        """Refuses a site within a transformation that this function knows nothing of."""
        if jax.extend.core.get_opaque_trace_state(convention="flax") != self._trace:
            refuse_misplaced(name, self)

    def add(self, *sites: Site) -> None:
        """Records sites.

        Raises:
          FsbError: if two sites have the same name, or names that would share their noise.
        """
        for site in sites:
            for other in self.sites:
                if other.name == site.name:
                    raise FsbError(
                        f"site {site.name!r} was sampled twice in one run; give each its own name"
                    )
                if zlib.crc32(other.name.encode()) == zlib.crc32(site.name.encode()):
                    raise FsbError(
                        f"sites {other.name!r} and {site.name!r} would share their noise, as the "
                        "checksums of their names agree; rename one"
                    )
            self.sites.append(site)


def collect_sites(
    model: Callable[[Sample], T], sampler: Sampler, batched: bool = True
) -> tuple[T, tuple[Site, ...]]:
    """Runs ``model(sample)`` and returns its result with the sites it sampled, in ancestral order.

    Raises:
      FsbError: if two sites have the same name, or one is sampled within a transformation of JAX.
    """
    result, sample = record(model, sampler, batched)
    return result, tuple(sample.sites)


def record(
    model: Callable[[Sample], T], sampler: Sampler, batched: bool = True
) -> tuple[T, Recorder]:
    """Runs ``model(sample)`` and returns its result with the recorder."""
    sample = Recorder(sampler, batched)
    return model(sample), sample


def bind(loss: Loss, params: PyTree) -> Run:
    """Returns the run of ``loss`` at ``params``: ``run(sampler) -> (losses [B], sites)``.

    Raises:
      FsbError: when the run is called, if two sites have the same name or the losses are not [B].

    >>> import jax, jax.numpy as jnp
    >>> from fsb.distributions import Bernoulli
    >>> def loss(params, sample):
    ...     return sample("b", Bernoulli(), params).sum(-1)
    >>> losses, sites = bind(loss, jnp.full((2, 3), 1000.0))(ancestral(jax.random.key(0)))
    >>> losses.tolist(), sites[0].name, sites[0].z.shape
    ([3.0, 3.0], 'b', (2, 3))
    """

    def run(sampler: Sampler) -> tuple[Array, tuple[Site, ...]]:
        losses, sample = record(lambda sample: loss(params, sample), sampler)
        losses, sites = with_costs(checked_losses(losses), sample)
        sites = with_context(losses, sites, sample.given)
        weights = [per_example(s.log_weight) for s in sites if s.log_weight is not None]
        if weights:
            total = sum(weights)
            losses = losses * jnp.exp(total - jax.lax.stop_gradient(total))
        return losses, sites

    return run


def with_costs(losses: Array, sample: Recorder) -> tuple[Array, tuple[Site, ...]]:
    """The losses with the costs of a run, and the sites with what is downstream of each.

    A cost of a scan is [B, T], and stands before the sites of the scan.
    """
    if not sample.costs:
        return losses, tuple(sample.sites)
    sites = []
    for place, site in enumerate(sample.sites):
        total = losses.reshape(losses.shape + (1,) * len(site.scans))
        for before, cost, scan in sample.costs:
            if scan is not None and scan in site.scans[:1]:
                togo = jax.lax.cumsum(cost, 1, reverse=True)
                total = total + togo.reshape(togo.shape + (1,) * (len(site.scans) - 1))
            elif before > place:
                term = cost.reshape(len(cost), -1).sum(-1)
                total = total + term.reshape(term.shape + (1,) * len(site.scans))
        shape = losses.shape + site.turns
        sites.append(replace(site, downstream=jnp.broadcast_to(total, shape)))
    every = sum(cost.reshape(len(cost), -1).sum(-1) for _, cost, _ in sample.costs)
    return losses + every, tuple(sites)


def with_context(losses: Array, sites: tuple[Site, ...], given: Array | None) -> tuple[Site, ...]:
    """The sites with the context of the losses, one row for each."""
    if given is None:
        return sites
    if len(given) != len(losses):
        raise FsbError(f"sample.context: {len(given)} rows for {len(losses)} losses")
    return tuple(replace(site, context=given) for site in sites)


def trace_sites(loss: Loss, params: PyTree) -> tuple[Site, ...]:
    """The sites of a loss, with shapes in place of arrays; nothing is computed."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    leaves, rebuild = arrays(params)
    return jax.eval_shape(lambda p, k: bind(loss, rebuild(p))(ancestral(k))[1], leaves, key)
