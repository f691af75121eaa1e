"""L0 feature selection: finds the five of fifty features that matter in a regression.

A hard concrete gate, exactly 0 or 1 with positive probability, multiplies each feature. The gates
are one site [1, D] that all examples share, differentiated along its path.

Source: Louizos, Welling & Kingma 2018 (Learning Sparse Neural Networks through L0 Regularization),
arXiv:1712.01312.
"""

import sys

import jax
import jax.numpy as jnp
import optax

import fsb

EXAMPLES, FEATURES, RELEVANT = 200, 50, (3, 11, 24, 30, 47)
GATES = fsb.HardConcrete()
PRICE = 0.1  # of an open gate


def data(key):
    key_x, key_y = jax.random.split(key)
    x = jax.random.normal(key_x, (EXAMPLES, FEATURES))
    signs = jnp.array([1.0, -1.0, 1.0, -1.0, 1.0])
    return x, x[:, jnp.array(RELEVANT)] @ signs + 0.3 * jax.random.normal(key_y, (EXAMPLES,))


def penalised_error(params, x, y, sample):
    gates = sample("gates", GATES, params["gates"])
    prediction = (gates * x) @ params["weights"]
    return (prediction - y) ** 2 + PRICE * GATES.nonzero(params["gates"]).sum()


def main(steps=1000):
    estimator, optimizer = fsb.pathwise(), optax.adam(1e-2)
    key, losses = jax.random.key(0), []
    x, y = data(key)
    params = {"gates": jnp.ones((1, FEATURES)), "weights": jnp.zeros(FEATURES)}
    state = optimizer.init(params)

    @jax.jit
    def train(params, state, key):
        loss = lambda params, sample: penalised_error(params, x, y, sample)
        value, grads = fsb.value_and_grad(estimator, loss)(params, key)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    for step in range(steps):
        params, state, value = train(params, state, jax.random.fold_in(key, step))
        losses.append(float(value))
        if step % 100 == 0:
            gates = GATES.nonzero(params["gates"]).sum()
            print(f"step {step}: penalised error {value:.3f}, {gates:.1f} gates are open")
    found = jnp.flatnonzero(GATES.nonzero(params["gates"])[0] > 0.5).tolist()
    print(f"penalised error {losses[0]:.3f} -> {losses[-1]:.3f}, relevant features: {found}")
    return losses


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
