"""A site within a transformation of JAX is refused, by the name of the transformation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import fsb
from fsb.sites import ancestral, bind

SPIN = fsb.Bernoulli(-1.0, 1.0)
ETA = jnp.zeros((3, 2))


def within(transformed):
    """A loss whose site is sampled by a function of eta that ``transformed`` applies."""

    def loss(eta, sample):
        return transformed(lambda eta: sample("b", SPIN, eta).sum(-1), eta)

    return loss


def custom(kind):
    def apply(f, eta):
        g = kind(f)
        if kind is jax.custom_vjp:
            g.defvjp(lambda eta: (f(eta), None), lambda _, c: (c[:, None] * jnp.ones((1, 2)),))
        else:
            g.defjvp(lambda p, t: (f(*p), t[0].sum(-1)))
        return g(eta)

    return apply


CASES = {
    "jax.lax.scan": (
        lambda f, eta: jax.lax.scan(lambda c, _: (c + f(eta), None), jnp.zeros(3), length=2)[0],
        "use fsb.scan",
    ),
    "jax.lax.fori_loop": (
        lambda f, eta: jax.lax.fori_loop(0, 2, lambda i, c: c + f(eta), jnp.zeros(3)),
        "use fsb.scan",
    ),
    "jax.lax.while_loop": (
        lambda f, eta: jax.lax.while_loop(lambda c: c.sum() < 0, lambda c: c + f(eta), f(eta)),
        "use fsb.scan",
    ),
    "jax.lax.map": (lambda f, eta: jax.lax.map(lambda e: f(e[None])[0], eta), "use fsb.scan"),
    "jax.vmap": (lambda f, eta: jax.vmap(lambda e: f(e[None])[0])(eta), "use fsb.vmap"),
    "jax.lax.cond": (
        lambda f, eta: jax.lax.cond(eta.sum() > 0, f, lambda e: e.sum(-1), eta),
        "sample before it",
    ),
    "jax.lax.switch": (lambda f, eta: jax.lax.switch(eta.argmax(), [f, f], eta), "sample before"),
    "jax.checkpoint": (lambda f, eta: jax.checkpoint(f)(eta), "use fsb.remat"),
    "jax.jit": (lambda f, eta: jax.jit(f)(eta), "take the inner jit away"),
    "jax.grad": (lambda f, eta: jax.grad(lambda e: f(e).sum())(eta).sum(-1), "sample before it"),
    "jax.custom_vjp": (custom(jax.custom_vjp), "pass the value"),
    "jax.custom_jvp": (custom(jax.custom_jvp), "pass the value"),
    "jax.shard_map": (
        lambda f, eta: jax.shard_map(
            f,
            mesh=jax.make_mesh((1,), ("x",)),
            in_specs=jax.sharding.PartitionSpec(),
            out_specs=jax.sharding.PartitionSpec(),
        )(eta),
        "sample outside",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_it_is_named_with_its_cure(name, compiled, key):
    transformed, cure = CASES[name]
    estimate = fsb.value_and_grad(fsb.st(), within(transformed))
    estimate = jax.jit(estimate) if compiled else estimate
    with pytest.raises(fsb.FsbError, match=f"site 'b' was sampled within {name}, .*{cure}") as e:
        estimate(ETA, key)
    assert "\n" not in str(e.value)


def test_the_sample_of_the_model_within_the_body_of_a_scan(key):
    def loss(eta, sample):
        turn = lambda c, _, own: (c + sample("b", SPIN, eta).sum(-1), None)
        return fsb.scan(turn, sample, jnp.zeros(3), length=2)[0]

    with pytest.raises(fsb.FsbError, match=r"site 'b' was sampled within jax\.lax\.scan"):
        bind(loss, ETA)(ancestral(key))


@pytest.mark.slow
@pytest.mark.parametrize("around", [jax.jit, jax.checkpoint, jax.vmap])
def test_transformations_around_the_whole_estimate_are_served(around, key):
    loss = within(lambda f, eta: f(eta))
    estimate = fsb.value_and_grad(fsb.rloo(2), loss)
    args = (ETA[None], key[None]) if around is jax.vmap else (ETA, key)
    value, grads = around(estimate)(*args)
    plain = estimate(ETA, key)
    assert jnp.allclose(value.ravel(), plain[0])
    assert jnp.allclose(grads.reshape(3, 2), plain[1])
