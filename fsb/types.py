"""The vocabulary of fsb: every other module is written in these words.

=========  ==============================================================================
word       meaning
=========  ==============================================================================
site       one stochastic layer: a name, a distribution, its parameters and its value
eta        parameters of a site's distribution (logits for discrete ones), [B, D...]
z          value of a site, [B, D...]
losses     one loss per example, [B], in nats where it is a likelihood
g          cotangent of a sample, or the estimate attached to ``eta``, shaped like ``eta``
control    parameters that only lower the variance (baselines, temperatures, surrogates)
state      running statistics of an estimator, not differentiated
=========  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

Array = jax.Array
PyTree = Any
Eta = Any  # an array [B, D...] or a tuple of them, as the distribution asks


class Distribution(Protocol):
    """What a family must offer to stand at a site. All methods work elementwise over units.

    ``sample(key, eta)`` draws z; it is ``from_noise(noise(key, eta), eta)``, where the noise is
    free of eta and independent from unit to unit ([B, D...], with an event axis if there is one).
    ``mean(eta)`` is E[z]; ``log_prob(eta, z)`` and ``entropy(eta)`` are in nats, one value per unit
    ([B, D...], without the event axis).
    ``support(eta)`` lists the values one unit can take, or raises ``FsbError`` where there are
    infinitely many. ``decode(z)`` is z on the family's own scale, [0, 1] for Boolean units in any
    encoding. ``reparameterized`` says that ``sample`` is differentiable in eta, its derivative
    that of the draw.
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


class Relaxable(Distribution, Protocol):
    """A discrete family whose draw is a function of a continuous, reparameterised ``zeta``.

    ``perturb(noise, eta)`` is zeta, differentiable in eta; ``conditional(noise, eta, hard)`` is
    zeta given the draw, from fresh noise; ``soften(zeta, temperature)`` is a value near the draw
    (the draw itself in the limit 0) that is smooth in zeta.
    """

    def perturb(self, noise: Array, eta: Eta) -> Array: ...
    def conditional(self, noise: Array, eta: Eta, hard: Array) -> Array: ...
    def soften(self, zeta: Array, temperature: Array | float) -> Array: ...


Sample = Callable[[str, Distribution, Eta], Array]
"""``sample(name, dist, eta) -> z``: what a model is given to draw with."""

Loss = Callable[[PyTree, Sample], Array]
"""``loss(params, sample) -> losses [B]``: a stochastic model, one loss per example."""

Run = Callable[..., Any]
"""``run(sampler) -> (losses [B], sites)``: a loss with everything but the sampler applied."""


class Aux(NamedTuple):
    """What an estimator returns beside the losses.

    objective: scalar minimised by the control parameters alone (zero if there are none).
    state: the estimator's next state.
    metrics: scalars worth a line in the log.
    """

    objective: Array | float
    state: PyTree
    metrics: dict[str, Array]


class Rule(NamedTuple):
    """What a local estimator does at a site: all that happens there is a function of the noise.

    ``noise(key, eta, dist) -> noise``: a pytree whose leaves start with the axes of the units;
    ``draw(noise, eta, dist) -> (z, hard)``: what is handed on, with the derivative in eta that the
    rule gives it, and a draw from the distribution itself.
    """

    noise: Callable[[Array, Eta, Distribution], PyTree]
    draw: Callable[[PyTree, Eta, Distribution], tuple[Array, Array]]


class Estimator(NamedTuple):
    """A gradient estimator: a pair of pure functions.

    ``init(key, sites) -> (control, state)``;
    ``surrogate(run, control, state, key) -> (losses [B], Aux)``, where the losses have the value
    of the plain run and their ordinary ``jax.grad`` is the estimate. ``control`` is constant there;
    the gradient of ``Aux.objective`` in it is taken apart, with the model constant.

    ``rule`` is that of a local estimator, and None for all others: combinators that mix estimators
    within one run, or couple the noise of several, need it.
    """

    init: Callable[[Array, tuple], tuple[PyTree, PyTree]]
    surrogate: Callable[[Run, PyTree, PyTree, Array], tuple[Array, Aux]]
    rule: Rule | None = None


class Evidence(NamedTuple):
    """Log-densities of a latent-variable model at one sample, per example, in nats.

    Layers run from the one nearest the data to the top; every entry is [B].

    likelihood: log p(x | z_1).
    prior: log p(z_l | z_{l+1}) for l < L, and log p(z_L).
    entropy: analytic H[q(z_l | z_{l-1})].
    posterior: log q(z_l | z_{l-1}) at the sample.
    mean: E[x | z_1], shaped like x: the reconstruction.
    """

    likelihood: Array
    prior: tuple[Array, ...]
    entropy: tuple[Array, ...]
    posterior: tuple[Array, ...]
    mean: Array
