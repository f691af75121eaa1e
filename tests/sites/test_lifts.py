"""fsb.scan, fsb.vmap and fsb.remat: the sites they record, and the samplers they hand on."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb
from fsb.sites import ancestral, bind, collect_sites, given, mean, relaxed, replay, trace_sites

SPIN = fsb.Bernoulli(-1.0, 1.0)
ETA = jnp.array([[0.4, -0.3], [0.1, 1.2], [-2.0, 0.0]])


def one(eta, sample):
    """A model of one example, with a scan in it."""
    b = sample("b", SPIN, eta)

    def turn(total, x, sample):
        c = sample("c", fsb.Bernoulli(), total * b + x)
        return total + (b * c).sum(), None

    total, _ = fsb.scan(turn, sample, b.sum(), jnp.array([0.3, -0.4]))
    return total**2


def mapped(params, sample):
    return fsb.vmap(one, sample)(params)


def batched(params, sample):
    """The same, written for a whole batch."""
    b = sample("b", SPIN, params)
    total = b.sum(-1)
    for i, x in enumerate((0.3, -0.4)):
        c = sample(f"c{i}", fsb.Bernoulli(), total[:, None] * b + x)
        total = total + (b * c).sum(-1)
    return total**2


@pytest.mark.slow
def test_sites_of_a_mapped_model_have_the_examples_first():
    sites = {site.name: site for site in trace_sites(mapped, ETA)}
    assert {name: site.z.shape for name, site in sites.items()} == {
        "vmap/b": (3, 2),
        "vmap/scan/c": (3, 2, 2),
    }
    assert sites["vmap/scan/c"].scans == ("vmap/scan",)


@pytest.mark.slow
def test_enumeration_of_a_mapped_model():
    np.testing.assert_allclose(
        fsb.exact_gradient(mapped, ETA), fsb.exact_gradient(batched, ETA), rtol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("make", [fsb.disarm, fsb.rebar, fsb.reinforce, fsb.double_cv, fsb.muprop])
def test_unbiased_means_of_a_mapped_model(make, key):
    draws = fsb.sample_gradients(make(), mapped, ETA, key, 2000)
    true = fsb.exact_gradient(batched, ETA)
    assert (abs(draws.mean(0) - true) < 4.5 * draws.std(0) / np.sqrt(2000) + 1e-5).all()


@pytest.mark.slow
def test_examples_have_noise_of_their_own(key):
    loss = lambda eta, sample: fsb.vmap(lambda e, s: s("b", SPIN, e).sum(), sample)(eta)
    losses, (site,) = bind(loss, jnp.zeros((4096, 2)))(ancestral(key))
    assert abs(np.corrcoef(np.asarray(site.z).T)[0, 1]) < 4.5 / 64
    assert abs(float(losses.mean())) < 4.5 * np.sqrt(2) / 64


@pytest.mark.slow
@pytest.mark.parametrize("lift", ["scan", "vmap", "remat"])
def test_replayed_values_come_back(lift, key):
    def body(eta, sample):
        return sample("b", SPIN, eta)

    def loss(eta, sample):
        if lift == "scan":
            turn = lambda c, e, sample: (c, body(e[None], sample)[0])
            return fsb.scan(turn, sample, 0, eta)[1].sum().reshape(1)
        return (fsb.vmap if lift == "vmap" else fsb.remat)(body, sample)(eta).sum(-1)

    run = jax.jit(lambda s: bind(loss, ETA)(s))
    losses, (site,) = run(ancestral(key))
    again, (other,) = run(replay({site.name: site.z}))
    np.testing.assert_array_equal(site.z, other.z)
    np.testing.assert_array_equal(losses, again)
    means, _ = run(mean())
    np.testing.assert_allclose(means.sum(), np.tanh(ETA / 2).sum(), rtol=1e-5)
    _, (site,) = run(relaxed(key, 0.5))
    assert ((abs(site.z) < 1) & (np.sign(site.z) == site.hard)).all()


@pytest.mark.slow
def test_remat_is_the_function_itself(key):
    def layer(eta, sample):
        return jnp.sin(sample("b", SPIN, eta)).sum(-1)

    plain = fsb.value_and_grad(fsb.darn(), layer)
    anew = fsb.value_and_grad(fsb.darn(), lambda eta, s: fsb.remat(layer, s)(eta))
    for x, y in zip(plain(ETA, key), anew(ETA, key), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)
    assert "remat" in str(jax.make_jaxpr(anew)(ETA, key))


@pytest.mark.slow
def test_a_value_held_until_a_turn(key):
    def loss(eta, sample):
        turn = lambda c, _, sample: (c, sample("b", SPIN, eta)[:, 0])
        return fsb.scan(turn, sample, 0, length=4)[1].sum(0)

    eta, z = jnp.zeros((64, 1)), jnp.full((64, 4, 1), 7.0)
    until = {"scan/b": jnp.array([True, True, False, False])}
    _, (site,) = bind(loss, eta)(given({"scan/b": z}, ancestral(key), until))
    _, (drawn,) = bind(loss, eta)(ancestral(key))
    np.testing.assert_array_equal(site.z[:, :2], 7)
    np.testing.assert_array_equal(site.z[:, 2:], drawn.z[:, 2:])


@pytest.mark.slow
def test_arguments_of_vmap(key):
    def loss(eta, sample):
        model = lambda scale, eta, sample: (scale * sample("b", SPIN, eta)).sum()
        return fsb.vmap(model, sample, in_axes=(None, 1))(2.0, eta.T)

    plain = lambda eta, sample: (2 * sample("b", SPIN, eta)).sum(-1)
    np.testing.assert_allclose(
        fsb.exact_gradient(loss, ETA), fsb.exact_gradient(plain, ETA), rtol=1e-6
    )


MISTAKES = {
    "a sample of one's own": (
        lambda sample: fsb.scan(lambda *a: a, lambda *site: 0, 0, ETA),
        "fsb.scan: sample must be the function that the loss was given",
    ),
    "lengths": (
        lambda sample: fsb.scan(lambda *a: a, sample, 0, ETA, length=4),
        "fsb.scan: xs and length must agree on the number of turns; got 3, 4",
    ),
    "no length": (lambda sample: fsb.scan(lambda *a: a, sample, 0), "got neither xs nor length"),
    "nothing mapped": (
        lambda sample: fsb.vmap(lambda *a: 0, sample, in_axes=None)(ETA),
        "fsb.vmap: no argument is mapped",
    ),
    "axes": (
        lambda sample: fsb.vmap(lambda *a: 0, sample, in_axes=(0, 0))(ETA),
        "fsb.vmap: 2 in_axes for 1 arguments",
    ),
    "vmap in vmap": (
        lambda sample: fsb.vmap(lambda e, s: fsb.vmap(lambda *a: 0, s)(e), sample)(ETA),
        "fsb.vmap: within another fsb.vmap",
    ),
    "two scans of one name": (
        lambda sample: [
            fsb.scan(lambda c, x, s: (c, s("b", SPIN, x[None])), sample, 0, ETA) for _ in "ab"
        ],
        "site 'scan/b' was sampled twice in one run",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name, key):
    call, says = MISTAKES[name]
    with pytest.raises(fsb.FsbError, match=says) as caught:
        collect_sites(call, ancestral(key))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_another_scan_that_agrees_with_jax(key):
    calls = []

    def transform(*args, **kwargs):
        calls.append(kwargs["length"])
        return jax.lax.scan(*args, **kwargs)

    def loss(eta, sample, **options):
        turn = lambda c, e, sample: (c + sample("b", SPIN, e[None])[0].sum(), None)
        return fsb.scan(turn, sample, 0.0, eta, **options)[0].reshape(1)

    own = bind(partial(loss, transform=transform), ETA)(ancestral(key))[0]
    np.testing.assert_array_equal(own, bind(loss, ETA)(ancestral(key))[0])
    assert calls == [3]
