"""Flips side by side against the function evaluated flip by flip."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb
from fsb.estimators._tracing.flips import at_flips
from fsb.estimators.local_expectation import other_values
from fsb.sites import Site

KEY = jax.random.key(0)
B, D, K = 3, 4, 3
X = jax.random.normal(KEY, (B, 5))
W = jax.random.normal(jax.random.key(1), (D, 5))
V = jax.random.normal(jax.random.key(2), (D, K, 5))
U = jax.random.normal(jax.random.key(3), (B, D, 5))


def plain(function, z, others):
    """One flip after the other."""
    units, choices, batch, size = others.shape
    flat = z.reshape(batch, units, size)
    at = lambda j, c: function(flat.at[:, j].set(others[j, c]).reshape(z.shape))
    return np.array([[at(j, c) for c in range(choices)] for j in range(units)])


def site_of(dist, shape):
    eta = jax.random.normal(jax.random.key(4), shape)
    z = dist.sample(KEY, eta)
    return Site("z", dist, eta, z, z)


class Net(nn.Module):
    """Nonlinear layers after the first, some of them rematerialised, looped, or custom."""

    @nn.compact
    def __call__(self, z):
        x = nn.remat(nn.Dense)(5)(2 * z - 1)
        x = nn.LayerNorm()(jax.nn.relu(x)) + jax.nn.silu(x)
        x, _ = jax.lax.scan(lambda c, w: (jnp.tanh(c * w), None), x, jnp.array([0.5, 2.0]))
        return nn.Dense(5)(jax.nn.softplus(jax.checkpoint(jnp.sin)(x))).sum(-1)


class Conv(nn.Module):
    @nn.compact
    def __call__(self, z):
        x = nn.Conv(3, (2, 2))(z.reshape(-1, 2, 2, 1))
        return nn.ConvTranspose(2, (3, 3), (2, 2))(jnp.tanh(x)).sum((1, 2, 3))


def module(net, z):
    params = net.init(KEY, z)
    return lambda z: net.apply(params, z)


BOOLEAN = {
    "linear": lambda z: (z * jnp.arange(4.0)[None]).sum(-1) - X[:, 0],
    "independent of z": lambda z: X[:, 0],
    "constant": lambda z: jnp.ones(B),
    "separable": lambda z: jnp.where(z > 0, jnp.exp(z), X[:, :4] * z**3).sum(-1),
    "examples sized one": lambda z: jax.nn.sigmoid(z * X[:1, :4]).sum(-1),
    "linear decoder": lambda z: jax.nn.softplus(z @ W + X).sum(-1),
    "product from the left": lambda z: jnp.sin(W.T @ (2 * z).T).sum(0),
    "matrix first": lambda z: jnp.sin(jnp.tensordot(W, 2 * z, ((0,), (1,)))).sum(0),
    "inside of calls": lambda z: jax.checkpoint(lambda z: jax.nn.relu(jax.jit(jnp.exp)(z) @ W))(
        z
    ).sum(-1),
    "matrices of examples": lambda z: jnp.sin(jnp.einsum("bi,bij->bj", z, U)).sum(-1),
    "matrices of examples, left": lambda z: jnp.sin(jnp.einsum("bij,bi->bj", U, z)).sum(-1),
    "concatenated": lambda z: jnp.sin(
        jnp.concatenate([X[:, :2], z], -1) @ U[0].repeat(2, 0)[:6]
    ).sum(-1),
    "quadratic in z": lambda z: (z * jnp.roll(z, 1, -1)).sum(-1) + (z * z + z).sum(-1),
    "two products": lambda z: ((z @ W) * (z @ jnp.cos(W))).sum(-1) + z.prod(-1),
    "outer product": lambda z: jnp.cos(z[:, :, None] * X[:, None]).sum((1, 2)),
    "kept axes": lambda z: (z.reshape(B, 2, 2).sum(-1) ** 2 @ W[:2]).max(-1),
    "times its transpose": lambda z: jnp.einsum("bij,bji->b", *[z.reshape(B, 2, 2)] * 2),
    "plus its transpose": lambda z: jnp.exp(
        z.reshape(B, 2, 2) + z.reshape(B, 2, 2).swapaxes(1, 2)
    ).sum((1, 2)),
    "transposed": lambda z: jnp.tanh(z.reshape(B, 2, 2).swapaxes(1, 2).reshape(B, 4) @ W).sum(-1),
    "examples last": lambda z: jnp.tanh(z.T * X.T[:4]).sum(0),
    "loop": lambda z: jax.lax.fori_loop(0, 3, lambda i, y: jnp.sin(y) + z[:, :1], z).sum(-1),
    "branch": lambda z: jax.lax.cond(True, jnp.sin, jnp.cos, z @ W).sum(-1),
    "integers": lambda z: (z > 0).astype(jnp.int32).sum(-1).astype(jnp.float32) ** 2,
    "sorted": lambda z: (jnp.sort(z * X[:, :4]) * jnp.arange(4.0)[None]).sum(-1),
}
CATEGORICAL = {
    "embedded": lambda z: jax.nn.softplus(jnp.einsum("bjk,jkh->bh", z, V) + X).sum(-1),
    "flattened": lambda z: jnp.sin(z.reshape(B, -1) @ V.reshape(-1, 5)).sum(-1),
    "values": lambda z: jnp.sin((z * V[None, :, :, 0]).sum(-1) @ W).sum(-1),
    "one table": lambda z: jnp.tanh((z @ V[0]).reshape(B, -1) @ jnp.tile(W, (5, 1))).sum(-1),
    "table of each unit": lambda z: jnp.sin(jnp.einsum("bjk,jkh->bjh", z, V)).sum((1, 2)),
    "sum over units": lambda z: jnp.sin(z.sum(1) @ V[0]).sum(-1),
    "softmax": lambda z: jax.nn.logsumexp(z * V[None, ..., 0], -1).prod(-1),
    "index": lambda z: jnp.sin(jnp.take(X[0], z.argmax(-1))).sum(-1),
}


def check(function, z, others, memory=2**20, rtol=1e-5):
    got = jax.jit(lambda z: at_flips(function, z, others, memory))(z)
    np.testing.assert_allclose(got, plain(function, z, others), rtol, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", BOOLEAN)
def test_boolean(name):
    site = site_of(fsb.Bernoulli(-0.5, 1.0), (B, D))
    check(BOOLEAN[name], site.z, other_values(site))


@pytest.mark.slow
@pytest.mark.parametrize("name", CATEGORICAL)
def test_categorical(name):
    site = site_of(fsb.Categorical(), (B, D, K))
    check(CATEGORICAL[name], site.z, other_values(site))


@pytest.mark.slow
@pytest.mark.parametrize("net", [Net(), Conv()])
def test_modules(net):
    site = site_of(fsb.Bernoulli(), (B, D))
    check(module(net, site.z), site.z, other_values(site))


@pytest.mark.slow
@pytest.mark.parametrize("memory", [1, 400, 1000, 2000])
def test_blocks(memory):
    """Any number of units or of values at a time, the last block not full."""
    site = site_of(fsb.Categorical(), (B, D, K))
    check(CATEGORICAL["embedded"], site.z, other_values(site), memory)


def operations(function, *args):
    """Names of all operations of a trace, with the shapes of their results."""
    todo, found = [jax.make_jaxpr(function)(*args).jaxpr], []
    while todo:
        for eqn in todo.pop().eqns:
            found += [(eqn.primitive.name, var.aval.shape) for var in eqn.outvars]
            inner = [getattr(x, "jaxpr", x) for x in eqn.params.values()]
            todo += [x for x in inner if hasattr(x, "eqns")]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["linear decoder", "two products", "matrix first", "inside of calls", "matrices of examples"],
)
def test_a_flip_is_a_rank_one_update(name):
    """No matrix product but those at z itself, whatever the number of flips."""
    site = site_of(fsb.Bernoulli(), (B, D))
    flips = operations(lambda z: at_flips(BOOLEAN[name], z, other_values(site), 2**20), site.z)
    once = operations(BOOLEAN[name], site.z)
    products = [[x for x in found if x[0] == "dot_general"] for found in (flips, once)]
    assert products[0]
    assert products[0] == products[1]


@pytest.mark.slow
@pytest.mark.parametrize("flips", [1, 3, 12])
def test_no_more_than_the_memory(flips):
    """Nothing larger than the block that fits."""
    site = site_of(fsb.Bernoulli(), (B, 12))
    w = jax.random.normal(KEY, (12, 1000))
    function = lambda z: jnp.tanh(jnp.cumsum(z @ w, 1)).sum(-1)
    most = 2 * 4 * B * 1000 * flips  # an operand and a result
    found = operations(lambda z: at_flips(function, z, other_values(site), most), site.z)
    sizes = [np.prod(shape) for _, shape in found if shape[-2:] == (B, 1000)]
    assert max(sizes) == flips * B * 1000


@pytest.mark.slow
def test_constant_to_differentiation():
    site = site_of(fsb.Bernoulli(), (B, D))
    others = other_values(site)

    def total(w, z):
        return at_flips(lambda z: jax.nn.relu(z @ w).sum(-1), z, others, 2**20).sum()

    for g in jax.grad(total, (0, 1))(W, site.z):
        np.testing.assert_array_equal(g, 0)


@pytest.mark.slow
def test_gradients_of_other_things_go_past_it():
    """Inside a vmap and a gradient: what is closed over may be traced."""
    site = site_of(fsb.Bernoulli(), (B, D))
    others = other_values(site)

    def total(w, shift):
        flips = at_flips(lambda z: jnp.sin(z @ w + shift).sum(-1), site.z, others, 500)
        return (flips * w.sum()).sum(), flips

    grads, flips = jax.vmap(jax.grad(total, has_aux=True), (None, 0))(W, jnp.array([0.1, 0.7]))
    for g, f, shift in zip(grads, flips, (0.1, 0.7), strict=True):
        expected = plain(lambda z: jnp.sin(z @ W + shift).sum(-1), site.z, others)  # noqa: B023
        np.testing.assert_allclose(f, expected, 1e-5, 1e-5)
        np.testing.assert_allclose(g, np.full(W.shape, expected.sum()), 1e-4)
