"""Sites that all examples share, plates below them, and shapes that do not fit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb

SPIN = fsb.Bernoulli(-1.0, 1.0)
PARAMS = {"w": jnp.array([[0.4, -0.7]]), "b": jnp.array([[0.2], [-0.5], [1.0]])}
TARGET = jnp.array([0.3, -0.8, 1.4])


def plate(params, sample):
    """A mask w that all examples share [1, 2], above one unit for each example [3, 1]."""
    w = sample("w", SPIN, params["w"])
    b = sample("b", fsb.Bernoulli(), params["b"] + w.sum(-1, keepdims=True))
    return (w[:, 0] * TARGET + w[:, 1] + b[:, 0] - 0.2) ** 2


SERVED = {
    "arm": fsb.arm, "arms": fsb.arms, "average": lambda: fsb.average(fsb.disarm(), 2),
    "bitflip": fsb.bitflip, "disarm": fsb.disarm, "exact": fsb.exact, "nvil": fsb.nvil,
    "per_site": lambda: fsb.per_site({"w": fsb.disarm(), "b": fsb.local_expectation()}),
    "reinforce": fsb.reinforce, "rloo": fsb.rloo, "ugc": fsb.ugc,
}  # fmt: skip
REFUSED = {
    "debias": lambda: fsb.debias(fsb.st()), "double_cv": fsb.double_cv,
    "local_expectation": fsb.local_expectation, "muprop": fsb.muprop, "rebar": fsb.rebar,
    "relax": fsb.relax, "rodeo": fsb.rodeo,
}  # fmt: skip


def estimate(estimator, loss, params, key):
    control, state = fsb.init(estimator, loss, params, key)
    return fsb.stateful_value_and_grad(estimator, loss)(params, control, state, key)


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVED)
def test_a_shared_site(name, key):
    estimator = SERVED[name]()
    number = 2 if name == "exact" else 4000
    draws = fsb.sample_gradients(estimator, plate, PARAMS, key, number)
    true = fsb.exact_gradient(plate, PARAMS)
    for leaf, g in true.items():
        error = draws[leaf].std(0) / np.sqrt(number)
        assert (abs(draws[leaf].mean(0) - g) < 4.5 * error + 1e-5).all()


@pytest.mark.slow
def test_enumeration_of_a_shared_site():
    def total(params):
        """By hand: all values of w and of each b."""
        value = 0
        for w in np.array(np.meshgrid([-1.0, 1.0], [-1.0, 1.0])).reshape(2, 4).T:
            p_w = jnp.prod(jax.nn.sigmoid(w * params["w"][0]))
            p = jax.nn.sigmoid(params["b"][:, 0] + w.sum())
            loss = lambda b, w=w: (w[0] * TARGET + w[1] + b - 0.2) ** 2
            value = value + p_w * (p * loss(1) + (1 - p) * loss(0)).mean()
        return value

    for ours, theirs in zip(
        jax.tree.leaves(fsb.exact_gradient(plate, PARAMS)),
        jax.tree.leaves(jax.grad(total)(PARAMS)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_who_cannot_serve_a_shared_site_says_so(name, key):
    says = r"site 'w': \w+ does not support a site that all examples share, \(1, 2\)"
    with pytest.raises(fsb.FsbError, match=says):
        estimate(REFUSED[name](), plate, PARAMS, key)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SERVED, *REFUSED])
@pytest.mark.parametrize("shape", [(3, 1), ()])
def test_a_site_that_does_not_fit_the_losses(name, shape, key):
    def loss(params, sample):
        return (sample("w", SPIN, params).sum() - 0.4).reshape(1) ** 2

    make = (SERVED | REFUSED)[name]
    if name == "per_site":
        make = lambda: fsb.per_site({"w": fsb.disarm()})
    with pytest.raises(fsb.FsbError, match=r"site 'w' has the shape .* and the losses \(1,\)"):
        estimate(make(), loss, jnp.zeros(shape), key)


@pytest.mark.slow
def test_a_local_estimator_serves_any_shape(key):
    loss = lambda w, sample: (sample("w", SPIN, w).sum() - 0.4).reshape(1) ** 2
    for shape in ((3, 1), (2,), ()):
        assert estimate(fsb.darn(), loss, jnp.zeros(shape), key).params.shape == shape
