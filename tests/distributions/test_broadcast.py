"""Parameters that broadcast: independent noise for every unit, and gradients summed over axes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb

SINGLE = jnp.full((4, 1), 1.5)
ROW = jnp.array([[0.5, 1.0, 2.0]])
EYE = jnp.eye(2)[None, None]

# dist, eta with units [4, 3], the shape of z
FAMILIES = {
    "normal": (fsb.Normal(), (SINGLE, ROW), (4, 3)),
    "laplace": (fsb.Laplace(), (SINGLE, ROW), (4, 3)),
    "uniform": (fsb.Uniform(), (-SINGLE, ROW), (4, 3)),
    "gamma": (fsb.Gamma(), (SINGLE, ROW), (4, 3)),
    "beta": (fsb.Beta(), (SINGLE, ROW), (4, 3)),
    "vectors": (
        fsb.MultivariateNormal(),
        (jnp.ones((4, 1, 2)), jnp.array([[2.0, 3.0, 4.0]])[..., None, None] * EYE),
        (4, 3, 2),
    ),
    "scalar": (fsb.Normal(), (jnp.zeros((4, 3)), jnp.float32(2)), (4, 3)),
    "shorter": (fsb.Normal(), (jnp.zeros((4, 3)), jnp.ones(3)), (4, 3)),
}


def full(name):
    """The family, and the same parameters written out."""
    dist, eta, shape = FAMILIES[name]
    if name == "vectors":
        written = (jnp.broadcast_to(eta[0], shape), jnp.broadcast_to(eta[1], (*shape, 2)))
    else:
        written = tuple(jnp.asarray(np.broadcast_to(x, shape)) for x in eta)
    return dist, eta, written, shape


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_all_methods_are_those_of_the_parameters_written_out(name, key):
    dist, eta, written, shape = full(name)
    z = dist.sample(key, eta)
    assert z.shape == shape
    np.testing.assert_array_equal(z, dist.sample(key, written))
    assert len(np.unique(z)) == z.size  # every unit has noise of its own
    assert dist.log_prob(eta, z).shape == dist.entropy(eta).shape == (4, 3)
    np.testing.assert_allclose(dist.log_prob(eta, z), dist.log_prob(written, z), rtol=1e-6)
    np.testing.assert_allclose(dist.entropy(eta), dist.entropy(written), rtol=1e-6)
    np.testing.assert_allclose(dist.mean(eta), dist.mean(written), rtol=1e-6)
    assert dist.mean(eta).shape == shape


@pytest.mark.slow
@pytest.mark.parametrize("make", [fsb.reinforce, fsb.pathwise], ids=["reinforce", "pathwise"])
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_summed_over_the_broadcast_axes(name, make, key):
    """Draw by draw those of the parameters written out."""
    dist, eta, written, _ = full(name)
    if isinstance(dist, fsb.Uniform) and make is fsb.reinforce:
        with pytest.raises(fsb.FsbError, match="Uniform has no score"):
            fsb.value_and_grad(make(), lambda e, s: s("z", dist, e).sum(-1))(eta, key)
        return

    def loss(eta, sample):
        z = sample("z", dist, eta)
        return jnp.sin(z).reshape(4, -1).sum(-1) ** 2

    value, found = jax.jit(fsb.value_and_grad(make(), loss))(eta, key)
    same, expected = jax.jit(fsb.value_and_grad(make(), loss))(written, key)
    assert float(value) == pytest.approx(float(same), rel=1e-5)
    for g, whole in zip(found, expected, strict=True):
        extra = tuple(range(whole.ndim - g.ndim))
        axes = extra + tuple(
            i + len(extra) for i, n in enumerate(g.shape) if n == 1 < whole.shape[i + len(extra)]
        )
        summed = whole.sum(axes, keepdims=True).reshape(g.shape)
        np.testing.assert_allclose(g, summed, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("make", [fsb.reinforce, fsb.pathwise], ids=["reinforce", "pathwise"])
def test_three_units_of_one_location(make, key):
    """E (z_1 + z_2 + z_3)^2 = sum of scale^2; derivative 2 scale."""
    scale = jnp.array([[0.5, 1.0, 1.5]])
    loss = lambda s, sample: sample("z", fsb.Normal(), (jnp.zeros((1, 1)), s)).sum(-1) ** 2
    draws = np.asarray(fsb.sample_gradients(make(), loss, scale, key, 100_000), np.float64)[:, 0]
    error = draws.std(0) / np.sqrt(len(draws))
    assert (abs(draws.mean(0) - 2 * np.asarray(scale[0])) < 4 * error).all()
    assert error.max() < 0.1


def test_shapes_that_do_not_fit(key):
    wrong = lambda eta, sample: sample("z", fsb.Normal(), (eta, jnp.ones((4, 2)))).sum(-1)
    with pytest.raises(fsb.FsbError, match=r"^site 'z': Normal does not take eta of shapes \(4, 3"):
        fsb.value_and_grad(fsb.pathwise(), wrong)(jnp.zeros((4, 3)), key)
