"""Shared types and vocabulary; every other module uses these words.

=========  ==============================================================================
word       meaning
=========  ==============================================================================
site       one stochastic layer: a name, a distribution, its parameters and its value
eta        parameters of a site's distribution (logits for discrete ones), [B, D...]
z          value of a site, [B, D...]
losses     one loss per example, [B]; in nats if it is a negative log-likelihood
g          cotangent of a sample, or the gradient estimate for ``eta``, shaped like ``eta``
control    parameters that only reduce variance (baselines, temperatures, surrogates)
state      running statistics of an estimator; not differentiated
=========  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, Key

Array = jax.Array
AnyArray = TypeVar("AnyArray", jax.Array, np.ndarray)
PRNGKey = Key[Array, ""]

Units = Float[Array, "*batch"]
"""One number per unit, [B, D...]; all ``Units`` of one signature have the same shape."""

Vectors = Float[Array, "*batch k"]
"""K numbers per unit, [B, D..., K]."""

PyTree = Any
Eta = Any  # an array [B, D...] or a tuple of arrays, depending on the distribution


@runtime_checkable
class Distribution(Protocol):
    """The interface that a distribution must implement to be used at a site.

    All methods act elementwise over units. ``sample(key, eta)`` draws z and equals
    ``from_noise(noise(key, eta), eta)``, where the noise does not depend on eta and is independent
    across units ([B, D...], plus an event axis if there is one).
    ``mean(eta)`` is E[z]; ``log_prob(eta, z)`` and ``entropy(eta)`` are in nats, one value per unit
    ([B, D...], without the event axis).
    ``support(eta)`` lists the K values that one unit can take, along its first axis: [K] for units
    that are numbers, [K, event] for vectors. It raises ``FsbError`` if there are infinitely many.
    ``decode(z)`` maps z to the distribution's natural scale, which is [0, 1] for
    Boolean units in any encoding. ``reparameterized`` states whether ``sample`` is differentiable
    with respect to eta.

    A distribution may also have a method ``canonical(eta)``, which ``sample`` applies at every site
    before anything else: it returns eta with every parameter expanded to the shape of the units,
    and with infinite logits replaced by finite ones of the same meaning.
    """

    @property
    def reparameterized(self) -> bool: ...

    def sample(self, key: Array, eta: Eta) -> Array: ...
    def noise(self, key: Array, eta: Eta) -> Array: ...
    def from_noise(self, noise: Array, eta: Eta) -> Array: ...
    def mean(self, eta: Eta) -> Array: ...
    def log_prob(self, eta: Eta, z: Array) -> Array: ...
    def entropy(self, eta: Eta) -> Array: ...
    def support(self, eta: Eta) -> Array: ...
    def decode(self, z: Array) -> Array: ...


@runtime_checkable
class Relaxable(Distribution, Protocol):
    """A discrete distribution that samples by discretising a reparameterised variable ``zeta``.

    ``perturb(noise, eta)`` returns zeta, differentiable in eta; ``soften(zeta, temperature)`` is a
    smooth function of zeta that tends to the draw as the temperature tends to 0. Estimators that
    average given the draw need a third method: ``conditional(noise, eta, hard)`` samples zeta given
    the draw, from fresh noise.
    """

    def perturb(self, noise: Array, eta: Eta) -> Array: ...
    def soften(self, zeta: Array, temperature: Array | float) -> Array: ...


Sample = Callable[[str, Distribution, Eta], Array]
"""``sample(name, dist, eta) -> z``: the function a model calls to sample a site."""

Loss = Callable[[PyTree, Sample], Array]
"""``loss(params, sample) -> losses [B]``: a stochastic model with one loss per example."""

Run = Callable[..., Any]
"""``run(sampler) -> (losses [B], sites)``: a loss with its parameters bound."""


class Aux(NamedTuple):
    """Auxiliary outputs of an estimator.

    objective: scalar that the control parameters minimise; zero if there are none.
    state: the estimator's next state.
    metrics: scalars to log.
    """

    objective: Array | float
    state: PyTree
    metrics: dict[str, Array]


class Rule(NamedTuple):
    """How a local estimator samples one site, as a function of noise.

    ``noise(key, eta, dist) -> noise``: a pytree whose leaves start with the axes of the units;
    ``draw(noise, eta, dist) -> (z, hard)``: the value passed to the model, with the derivative in
    eta that the rule assigns to it, and a sample from the distribution itself;
    ``pull(g, z, eta, dist) -> eta_bar``: this derivative as a function of z alone, for rules that
    pass an ordinary draw on; None for all others. The noise is then that of the distribution.
    """

    noise: Callable[[Array, Eta, Distribution], PyTree]
    draw: Callable[[PyTree, Eta, Distribution], tuple[Array, Array]]
    pull: Callable[[Array, Array, Eta, Distribution], Array] | None = None


class Estimator(NamedTuple):
    """A gradient estimator: a pair of pure functions.

    ``init(key, sites) -> (control, state)``;
    ``surrogate(run, control, state, key) -> (losses [B], Aux)``: the losses have the value of the
    run, and differentiating them with ``jax.grad`` gives the estimate. The control is held constant
    there; ``Aux.objective`` is differentiated separately, with respect to the control and with the
    model held constant.

    ``rule`` is set for local estimators only. Combinators need it to mix estimators within one run
    or to couple the noise of several runs.
    """

    init: Callable[[Array, tuple], tuple[PyTree, PyTree]]
    surrogate: Callable[[Run, PyTree, PyTree, Array], tuple[Array, Aux]]
    rule: Rule | None = None


class Evidence(NamedTuple):
    """Log-densities of a latent-variable model at one sample, per example, in nats.

    Layers are ordered from the one nearest the data to the top; every entry is [B].

    likelihood: log p(x | z_1).
    prior: log p(z_l | z_{l+1}) for l < L, and log p(z_L).
    entropy: analytic H[q(z_l | z_{l-1})].
    posterior: log q(z_l | z_{l-1}) at the sample.
    mean: the reconstruction E[x | z_1], shaped like x.
    """

    likelihood: Array
    prior: tuple[Array, ...]
    entropy: tuple[Array, ...]
    posterior: tuple[Array, ...]
    mean: Array
