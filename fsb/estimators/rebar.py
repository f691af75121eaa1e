"""REBAR and RELAX: score-function estimators with a relaxed run as control variate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from fsb.constraints import known
from fsb.distributions import Bernoulli, Categorical
from fsb.errors import FsbError
from fsb.estimators._attach import attach_all, score, weigh
from fsb.estimators._baselines import features, mlp, new_mlp
from fsb.estimators._turns import at_turn, each_turn, values_until
from fsb.estimators.local import check_temperature
from fsb.runtime.random import fold_in
from fsb.sites import (
    Sampler,
    Site,
    ancestral,
    given,
    per_example,
    relaxed,
    serve_all,
    serve_batch,
    site_key,
)
from fsb.types import Array, Aux, Estimator, PyTree, Run


def rebar(
    temperature: float = 0.5,
    scale: float = 1.0,
    learn_temperature: bool = True,
    learn_scale: bool = True,
) -> Estimator:
    r"""REBAR: REINFORCE minus a relaxed run, whose gradient is added back by reparameterisation.

    The sample b is a function of a continuous z of noise and eta: [z > 0] with z = eta + logit(u)
    for Boolean units, the one-hot argmax of z = eta + Gumbel noise for categorical ones. z~ is z
    given b, from fresh noise. c(z) is the loss with b replaced by a smooth value,
    sigmoid(z / lambda) or softmax(z / lambda). With the scale rho,

    .. math:: \bar\eta = [f(b) - \rho\, c(\tilde z)] \, \nabla_\eta \log p(b)
        + \rho\, \nabla_\eta \, [c(z) - c(\tilde z)].

    Unbiased for any lambda and rho. One pair per site is learned, by minimising the mean over
    examples of the squared norm of eta_bar.

    Several layers: applied at each, given the layers above. The run inside c is relaxed from that
    layer downwards, at its temperature and with the noise of the layers below: hard samples there
    would hide part of the gradient and add a large bias. Costs 1 + 2L evaluations of the loss; 2L
    of them are differentiated with respect to the values of the sites only, and twice if the
    temperature is learned. Supports Bernoulli and Categorical sites. The loss must be defined, and
    should be smooth, between the values of a unit. Examples must be independent (no BatchNorm).

    Source: Tucker et al. 2017 (REBAR), arXiv:1703.07370, section 3; Categorical: Grathwohl et al.
    2018 (RELAX), arXiv:1711.00123, appendix on conditional reparameterisation.

    Args:
      temperature: lambda > 0; the initial value, if learned.
      scale: rho; the initial value, if learned.
      learn_temperature, learn_scale: whether they are learned; fixed otherwise.

    Raises:
      FsbError: if ``temperature`` or ``scale`` is out of range.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: ((sample("b", fsb.Bernoulli(), eta) - 0.45) ** 2).sum(-1)
    >>> draws = fsb.sample_gradients(fsb.rebar(), loss, jnp.zeros((1, 1)), jax.random.key(0), 9999)
    >>> bool(abs(draws.mean() - 0.025) < 0.002)
    True
    """
    return relaxed_control("rebar", temperature, scale, learn_temperature, learn_scale)


def relax(
    temperature: float = 0.5,
    scale: float = 1.0,
    learn_temperature: bool = True,
    learn_scale: bool = True,
    hidden: int = 100,
) -> Estimator:
    r"""RELAX: REBAR with a learned network r added to its control variate.

    In the formula of ``rebar``, rho c(z) becomes

    .. math:: \rho\, c(z) + r(\mathrm{soft}(z), \eta), \qquad
        \mathrm{soft}(z) = \sigma(z / \lambda) \text{ or } \mathrm{softmax}(z / \lambda),

    where r treats eta as a constant: one network per site, with a hidden tanh layer and one output
    per example. Its initial output is zero, so RELAX starts as REBAR.

    Unbiased. Cost, conditions and several layers: as ``rebar``; the network adds little.

    Source: Grathwohl et al. 2018 (RELAX: Backpropagation through the Void), arXiv:1711.00123,
    section 3.

    Args:
      temperature, scale, learn_temperature, learn_scale: as in ``rebar``.
      hidden: number of units of the network's hidden layer.

    Raises:
      FsbError: if ``temperature``, ``scale`` or ``hidden`` is out of range.

    >>> import jax, jax.numpy as jnp, fsb
    >>> loss = lambda eta, sample: ((sample("b", fsb.Bernoulli(), eta) - 0.45) ** 2).sum(-1)
    >>> control, _ = fsb.init(fsb.relax(hidden=7), loss, jnp.zeros((1, 3)), jax.random.key(0))
    >>> sorted(control["b"]), control["b"]["network"]["in"].shape
    (['log_temperature', 'network', 'scale'], (6, 7))
    """
    if hidden < 1:
        raise FsbError(f"relax: hidden={hidden}: it must be at least 1")
    return relaxed_control("relax", temperature, scale, learn_temperature, learn_scale, hidden)


def relaxed_control(
    name: str,
    temperature: float,
    scale: float,
    learn_temperature: bool,
    learn_scale: bool,
    hidden: int = 0,
) -> Estimator:
    """REBAR, or RELAX if the network has ``hidden`` > 0 units."""
    check_temperature(temperature)
    if known(scale) and not math.isfinite(scale):
        raise FsbError(f"{name}: scale={scale}: it must be finite")
    start = {"log_temperature": math.log(temperature), "scale": scale}
    learned = {"log_temperature": learn_temperature, "scale": learn_scale}

    def first(key: Array, site: Site) -> PyTree:
        control: dict[str, Any] = {k: jnp.float32(v) for k, v in start.items() if learned[k]}
        if hidden:
            one = jax.eval_shape(lambda site: at_turn(site, 0), site) if site.scans else site
            inputs = jax.eval_shape(features, (one.z, one.eta)).shape[-1]
            control["network"] = new_mlp(site_key(key, site.name), inputs, hidden)
        return control

    def init(key, sites):
        serve_all(name, sites, Bernoulli, Categorical)
        return {site.name: first(key, site) for site in sites}, ()

    def surrogate(run, control, state, key):
        losses, sites = run(ancestral(key))
        serve_batch(name, losses, sites)

        def at_layer(layer, site):
            knobs = start | control[site.name]
            below = relaxed(key, temperature_of(knobs))

            def at_one(site, turn, own_key):
                c = relaxed_run(run, sites, layer, turn, below)
                return estimate(c, losses, site, knobs, own_key)

            return each_turn(site, key, at_one)

        estimates = [at_layer(*pair) for pair in enumerate(sites)]
        square = sum(per_example(g.astype(jnp.float32) ** 2) for g in estimates)
        return attach_all(losses, sites, estimates), Aux(jnp.mean(square), state, {})

    return Estimator(init, surrogate)


def temperature_of(knobs: PyTree) -> Array:
    return jnp.exp(knobs["log_temperature"])


def relaxed_run(
    run: Run, sites: tuple[Site, ...], layer: int, turn: Any, below: Sampler
) -> Callable[[Array], Array]:
    """c: the losses [B] as a function of the relaxed value of one site, relaxed below it."""

    def c(soft):
        values, until = values_until(sites, layer, turn, soft)
        return run(given(values, below, until))[0]

    return c


def estimate(
    c: Callable[[Array], Array], losses: Array, site: Site, knobs: PyTree, key: Array
) -> Array:
    """g of one layer, [B, D...], differentiable in the parameters of its control variate."""
    dist: Any = site.dist
    u: Any = site.noise
    v = dist.noise(site_key(fold_in(key, 1), site.name), site.eta)

    def r(soft):  # eta is held constant, as in c
        return mlp(knobs["network"], features((soft, site.eta)))

    def parts(function):
        """function(soft(z~)) [B], and d/d eta of function(soft(z)) - function(soft(z~))."""

        def difference(eta):
            zetas = dist.perturb(u, eta), dist.conditional(v, eta, site.hard)
            at_free, at_given = (
                function(dist.soften(zeta, temperature_of(knobs)).astype(eta.dtype))
                for zeta in zetas
            )
            return (at_free - at_given).sum(), at_given

        slope, at_given = jax.grad(difference, has_aux=True)(site.eta)
        return at_given, slope

    # The scale is applied outside, where its derivative is cheap.
    given, slope = (knobs["scale"] * x for x in parts(c))
    if "network" in knobs:
        given, slope = (x + y for x, y in zip((given, slope), parts(r), strict=True))
    # Use the precision of the noise: in bfloat16 the score of a rare value rounds to 0.
    weight = score(replace(site, eta=site.eta.astype(u.dtype)))
    g = weigh(losses - given, weight) + slope
    return jnp.where(weight == 0, 0, g)  # for deterministic units the rest is rounding error
