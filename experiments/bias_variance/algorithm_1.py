"""Algorithm 1 of MuProp, line by line with automatic differentiation, beside `fsb.muprop`.

Two layers of three Boolean units and a last layer of weights, against enumeration.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from common import SEED, ZERO_ONE, check, claim, figure, legend, main, mean_and_error, style
from jax.flatten_util import ravel_pytree
from jax.lax import stop_gradient

import fsb

X = jnp.array([0.8, -0.5, 1.2])
STATES = jnp.array(list(itertools.product((0.0, 1.0), repeat=3)))


def weights():
    keys = jax.random.split(jax.random.key(SEED), 3)
    return [jax.random.normal(key, shape) for key, shape in zip(keys, ((3, 3), (3, 3), (3,)),
                                                                 strict=True)]  # fmt: skip


def cost(last, z):
    return jnp.tanh(2 * z @ last) + (z @ last) ** 2


def log_prob(eta, z):
    return (z * jax.nn.log_sigmoid(eta) + (1 - z) * jax.nn.log_sigmoid(-eta)).sum(-1)


def mean_field(theta, shifts):
    """ForwardPass(stochastic=false): the means of both layers, moved by the shifts, and f."""
    first = jax.nn.sigmoid(X @ theta[0]) + shifts[0]
    second = jax.nn.sigmoid(first @ theta[1]) + shifts[1]
    return cost(theta[2], second), (first, second)


def surrogate(theta, key):
    """The c of Algorithm 1, whose gradient in theta is the estimate."""
    zeros = [jnp.zeros(3)] * 2
    slopes, (first, second) = jax.grad(mean_field, 1, has_aux=True)(theta, zeros)
    bar = cost(theta[2], second)
    one, two = jax.random.uniform(key, (2, 3))
    z1 = (one < jax.nn.sigmoid(X @ theta[0])).astype(jnp.float32)
    z2 = (two < jax.nn.sigmoid(z1 @ theta[1])).astype(jnp.float32)
    etas, values, means = (X @ theta[0], z1 @ theta[1]), (z1, z2), (first, second)
    f = cost(theta[2], z2)
    total = f
    for eta, z, mean, slope in zip(etas, values, means, slopes, strict=True):
        left = stop_gradient(f - bar - slope @ (z - mean))
        total += log_prob(eta, z) * left + jax.nn.sigmoid(eta) @ stop_gradient(slope)
    return total


def expected(theta):
    """E f by enumeration of 64 states."""
    first = jnp.exp(log_prob(X @ theta[0], STATES))
    second = jnp.exp(jax.vmap(lambda z: log_prob(z @ theta[1], STATES))(STATES))
    return first @ second @ jax.vmap(lambda z: cost(theta[2], z))(STATES)


def network(theta, sample):
    """The same for `fsb`, one example."""
    z = sample("z1", ZERO_ONE, (X @ theta[0])[None])
    z = sample("z2", ZERO_ONE, z @ theta[1])
    return cost(theta[2], z)


def measure(count=2**17):
    theta = weights()
    flat = lambda grads: np.asarray(jax.vmap(lambda g: ravel_pytree(g)[0])(grads), np.float64)
    true = np.asarray(ravel_pytree(jax.grad(expected)(theta))[0], np.float64)
    keys = jax.random.split(jax.random.key(SEED + 1), count)
    printed = flat(jax.jit(jax.vmap(jax.grad(surrogate), (None, 0)))(theta, keys))
    ours = flat(fsb.sample_gradients(fsb.muprop(), network, theta, jax.random.key(SEED + 2), count))
    rows = []
    for name, found in (("Algorithm 1", printed), ("fsb.muprop", ours)):
        mean, error = mean_and_error(found)
        rows += [{"estimator": name, "parameter": i, "mean": m, "error": e, "true": t,
                  "z": abs(m - t) / max(e, 1e-6), "variance": v}
                 for i, (m, e, t, v) in enumerate(zip(mean, error, true, found.var(0),
                                                      strict=True))]  # fmt: skip
    largest, variance = (
        {name: reduce(float(row[key]) for row in rows if row["estimator"] == name)
         for name in ("Algorithm 1", "fsb.muprop")}
        for key, reduce in (("z", max), ("variance", sum))
    )  # fmt: skip
    ratio = variance["Algorithm 1"] / variance["fsb.muprop"]
    record = claim(
        "Algorithm 1: MuProp by automatic differentiation of one surrogate.",
        f"at most {largest['Algorithm 1']:.1f} standard errors from the gradient in "
        f"{len(true)} parameters of two layers; variance {variance['Algorithm 1']:.3f}, of "
        f"fsb.muprop {variance['fsb.muprop']:.3f}",
        "0; equal",
        [check("bias in standard errors", largest["Algorithm 1"], "<", 4),
         check("fsb.muprop, bias in standard errors", largest["fsb.muprop"], "<", 4),
         check("variance over fsb.muprop's", ratio, "=", 1, 0.05)],
        note=f"{count:,} draws against enumeration.",
    )  # fmt: skip
    return rows, {"D alg 1": record}


def picture(rows):
    found, (axes,) = figure(1)
    for i, name in enumerate(("Algorithm 1", "fsb.muprop")):
        of = [row for row in rows if row["estimator"] == name]
        look = style(i)
        axes.plot([row["true"] for row in of], [row["mean"] for row in of], label=name,
                  color=look["color"], marker=look["marker"], linestyle="none",
                  fillstyle="none")  # fmt: skip
    ends = [min(row["true"] for row in rows), max(row["true"] for row in rows)]
    axes.plot(ends, ends, color="0.6", linewidth=0.8)
    axes.set(xlabel="gradient by enumeration", ylabel="mean of the draws")
    legend(axes)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
