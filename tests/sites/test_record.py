"""Sites: what a run records, and how its draws are keyed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsb import Bernoulli, FsbError, Normal
from fsb.sites import Site, ancestral, bind, collect_sites, mean, replay, site_key, trace_sites

PARAMS = {"a": jnp.zeros((3, 40)), "b": jnp.zeros((3, 40))}
DIST = Bernoulli(-1.0, 1.0)


def model_of(*names):
    """Independent sites, drawn in this order."""

    def loss(params, sample):
        return sum(sample(name, DIST, params[name]).sum(-1) for name in names)

    return loss


def values(sites):
    return {site.name: np.asarray(site.z) for site in sites}


@pytest.mark.slow
def test_draws_depend_on_the_name_and_not_on_the_order(key):
    runs = [bind(model_of(*order), PARAMS)(ancestral(key)) for order in ("ab", "ba", "b")]
    (_, one), (_, two), (_, alone) = runs
    assert [site.name for site in one] == ["a", "b"]
    assert [site.name for site in two] == ["b", "a"]
    for name in "ab":
        np.testing.assert_array_equal(values(one)[name], values(two)[name])
    np.testing.assert_array_equal(values(one)["b"], values(alone)["b"])
    assert (values(one)["a"] != values(one)["b"]).any()
    np.testing.assert_array_equal(values(one)["a"], DIST.sample(site_key(key, "a"), PARAMS["a"]))


def test_the_noise_changes_with_the_key(key):
    keys = jax.random.split(key)
    one, two = (values(bind(model_of("a"), PARAMS)(ancestral(k))[1])["a"] for k in keys)
    assert (one != two).any()


def test_the_loss_is_made_of_what_the_sites_hold(key):
    losses, sites = bind(model_of("a", "b"), PARAMS)(ancestral(key))
    np.testing.assert_allclose(losses, sum(site.z.sum(-1) for site in sites))
    for site in sites:
        assert site.dist == DIST
        np.testing.assert_array_equal(site.eta, 0)
        np.testing.assert_array_equal(site.hard, site.z)


def test_a_name_can_be_used_once(key):
    with pytest.raises(FsbError, match="site 'a' was sampled twice in one run; give each its own"):
        bind(model_of("a", "b", "a"), PARAMS)(ancestral(key))


@pytest.mark.parametrize(
    ("loss", "shape"),
    [
        (lambda params, sample: sample("a", DIST, params["a"]), r"\(3, 40\)"),
        (lambda params, sample: sample("a", DIST, params["a"]).sum(), r"\(\)"),
    ],
)
def test_a_loss_is_one_number_an_example(loss, shape, key):
    with pytest.raises(FsbError, match=rf"one value per example, shape \[B\]; got {shape}"):
        bind(loss, PARAMS)(ancestral(key))


def test_record_returns_any_result(key):
    result, sites = collect_sites(
        lambda sample: {"z": sample("a", DIST, PARAMS["a"])}, ancestral(key)
    )
    np.testing.assert_array_equal(result["z"], sites[0].z)
    assert len(sites) == 1


def test_replay_puts_in_the_values_as_constants(key):
    given = {"a": jnp.full((3, 40), 0.25), "b": jnp.full((3, 40), -2.0)}
    losses, sites = bind(model_of("a", "b"), PARAMS)(replay(given))
    assert losses.tolist() == [40 * (0.25 - 2)] * 3
    assert [site.name for site in sites] == ["a", "b"]
    np.testing.assert_array_equal(sites[0].hard, given["a"])

    def total(given):
        return bind(model_of("a", "b"), PARAMS)(replay(given))[0].sum()

    assert all((g == 0).all() for g in jax.tree.leaves(jax.grad(total)(given)))


def test_replay_of_some_sites_draws_the_others(key):
    given = {"a": jnp.full((3, 40), 0.25)}
    _, sites = bind(model_of("a", "b"), PARAMS)(replay(given, otherwise=ancestral(key)))
    drawn = bind(model_of("b"), PARAMS)(ancestral(key))[1]
    np.testing.assert_array_equal(values(sites)["a"], 0.25)
    np.testing.assert_array_equal(values(sites)["b"], values(drawn)["b"])
    with pytest.raises(KeyError, match="b"):
        bind(model_of("a", "b"), PARAMS)(replay(given))


def test_names_that_would_share_noise_are_refused(key):
    """Two words of one crc32, with which keys are folded."""
    names = ("plumless", "buckeroo")
    with pytest.raises(FsbError, match="sites 'plumless' and 'buckeroo' would share their noise"):
        bind(model_of(*names), dict.fromkeys(names, PARAMS["a"]))(ancestral(key))


@pytest.mark.slow
def test_the_mean_pass_passes_means_on():
    def loss(params, sample):
        z = sample("low", DIST, params)
        return sample("high", Normal(), (3 * z, jnp.ones_like(z)))[:, 0]

    losses, sites = bind(loss, jnp.array([[0.4]]))(mean())
    assert float(losses[0]) == pytest.approx(3 * np.tanh(0.2))
    np.testing.assert_allclose(sites[0].z, np.tanh(0.2), rtol=1e-6)
    slope = jax.grad(lambda p: bind(loss, p)(mean())[0].sum())(jnp.array([[0.4]]))
    assert float(slope[0, 0]) == pytest.approx(1.5 * (1 - np.tanh(0.2) ** 2))


def test_a_site_is_a_pytree_with_a_fixed_name_and_family():
    site = Site("a", DIST, jnp.ones(2), jnp.zeros(2), jnp.full(2, 3.0))
    leaves, tree = jax.tree.flatten(site)
    assert len(leaves) == 3
    same, other = (Site(n, DIST, *leaves) for n in "ab")
    assert jax.tree.structure(same) == tree != jax.tree.structure(other)
    assert jax.tree.structure(Site("a", Bernoulli(), *leaves)) != tree


@pytest.mark.slow
def test_sites_cross_every_transformation(key):
    def run(params, key):
        return bind(model_of("a", "b"), params)(ancestral(key))[1]

    plain = run(PARAMS, key)
    for sites in (jax.jit(run)(PARAMS, key), jax.checkpoint(run)(PARAMS, key)):
        assert [(s.name, s.dist) for s in sites] == [("a", DIST), ("b", DIST)]
        for name, z in values(plain).items():
            np.testing.assert_array_equal(values(sites)[name], z)
    many = jax.vmap(run, (None, 0))(PARAMS, jax.random.split(key, 5))
    assert [(s.name, s.z.shape) for s in many] == [("a", (5, 3, 40)), ("b", (5, 3, 40))]
    single = run(PARAMS, jax.random.split(key, 5)[3])
    np.testing.assert_array_equal(values(many)["b"][3], values(single)["b"])


def test_tracing_computes_nothing():
    def loss(params, sample):
        jax.debug.callback(lambda: pytest.fail("computed"))
        return sample("a", Normal(), (params, params)).sum(-1)

    (site,) = trace_sites(loss, jnp.ones((2, 3)))
    assert (site.name, site.dist, site.z.shape) == ("a", Normal(), (2, 3))
    assert isinstance(site.z, jax.ShapeDtypeStruct)
    assert [e.shape for e in site.eta] == [(2, 3), (2, 3)]
