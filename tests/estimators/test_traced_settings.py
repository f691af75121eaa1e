"""Settings traced by jit, vmap and grad: as the same settings given as numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb

ETA = jnp.array([[0.3, -1.0, 2.0]])
KEY = jax.random.key(5)
MAKE = {
    "gumbel_softmax": fsb.gumbel_softmax,
    "st_gumbel_softmax": fsb.st_gumbel_softmax,
    "decoupled_st_gumbel_softmax": lambda tau: fsb.decoupled_st_gumbel_softmax(tau, tau),
    "gumbel_rao": fsb.gumbel_rao,
    "reinmax": fsb.reinmax,
    "reinmax_rao": fsb.reinmax_rao,
    "reinmax_cv": fsb.reinmax_cv,
    "gst": fsb.gst,
    "redge": fsb.redge,
    "foust": fsb.foust,
    "foust gamma": lambda gamma: fsb.foust(0.1, gamma),
    "mve": fsb.mve,
    "noise_operator": lambda rho: fsb.noise_operator(fsb.darn(), rho),
    "rebar": lambda scale: fsb.rebar(0.7, scale, False, False),
}


def loss(eta, sample):
    return jnp.sin(sample("b", fsb.Bernoulli(), eta) * jnp.array([[1.0, 2.0, 3.0]])).sum(-1) ** 2


def estimate(make, setting):
    control, state = fsb.init(make(setting), loss, ETA, KEY)
    out = fsb.stateful_value_and_grad(make(setting), loss)(ETA, control, state, KEY)
    return jnp.append(out.params.ravel(), out.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKE)
def test_jit_and_vmap(name):
    make = MAKE[name]
    settings = jnp.array([0.3, 0.8])
    each = jnp.stack([estimate(make, float(s)) for s in settings])
    np.testing.assert_allclose(jax.vmap(lambda s: estimate(make, s))(settings), each, rtol=1e-4)
    one = jax.jit(lambda s: estimate(make, s))(settings[1])
    np.testing.assert_allclose(one, each[1], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["gumbel_softmax", "gumbel_rao", "reinmax", "foust", "foust gamma"]
)
def test_derivatives_in_the_setting(name):
    """Of a function of value and gradient, by differences."""
    make = MAKE[name]
    with jax.enable_x64(True):
        f = lambda s: (estimate(make, s) * jnp.arange(1.0, 5.0)).sum()
        slope = jax.grad(f)(jnp.float64(0.5))
        assert np.isfinite(slope)
        difference = (f(0.5 + 1e-3) - f(0.5 - 1e-3)) / 2e-3
        assert float(slope) == pytest.approx(float(difference), rel=1e-2)


@pytest.mark.parametrize("name", MAKE)
def test_a_number_out_of_range_is_still_refused(name):
    with pytest.raises(fsb.FsbError):
        MAKE[name](float("nan"))
