"""Small networks with parameters far from their start."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from fsb.networks import BernoulliLikelihood, GaussianLikelihood, vae

SHAPE = (2, 3)


def example(likelihood, seed=0):
    rng = np.random.default_rng(seed)
    if isinstance(likelihood, BernoulliLikelihood):
        return jnp.float32(rng.integers(0, 2, SHAPE))
    return jnp.float32(rng.uniform(-0.5, 0.5, SHAPE))


def start(model, shape=SHAPE, seed=0):
    """Variables as training has them at its start, with a data mean."""
    x = jnp.zeros((1, *shape))
    init = jax.jit(lambda key: model.init(key, x, lambda name, dist, eta: dist.mean(eta)))
    variables = init(jax.random.key(seed))
    data_mean = np.random.default_rng(seed).uniform(0.1, 0.9, shape)
    return {"params": variables["params"], "constants": {"mean": jnp.float32(data_mean)}}


def shaken(variables, size=0.5, seed=1):
    leaves, tree = jax.tree.flatten(variables["params"])
    rng = np.random.default_rng(seed)
    leaves = [leaf + jnp.float32(rng.normal(size=leaf.shape, scale=size)) for leaf in leaves]
    return {**variables, "params": jax.tree.unflatten(tree, leaves)}


# At most 12 latent bits in all; every likelihood, kind of net, encoding and prior at least once.
MODELS = {
    "1-bernoulli-tanh": vae(SHAPE, BernoulliLikelihood(), layers=1, width=4, hidden=2),
    "2-bernoulli-linear": vae(SHAPE, BernoulliLikelihood(), layers=2, width=4, hidden=0),
    "2-gaussian-tanh": vae(SHAPE, GaussianLikelihood(), layers=2, width=3, hidden=1, low=0.0),
    "3-bernoulli-tanh": vae(SHAPE, BernoulliLikelihood(), layers=3, width=4, hidden=1, low=-0.5),
    "3-gaussian-linear": vae(
        SHAPE, GaussianLikelihood(), layers=3, width=3, hidden=0, prior="uniform"
    ),
}
