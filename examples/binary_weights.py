"""A classifier of digits whose weights are -1 or 1, trained with BayesBiNN.

The optimiser holds the natural parameters of the distribution of every weight; ``rule.weights``
draws relaxed weights from it, and the losses are averaged over a few draws. The final network uses
the signs.
"""

import sys
from importlib.resources import files
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fsb.bayesbinn import bayesbinn

SIZES, BATCH, DRAWS = (64, 128, 128, 10), 100, 4


def init(key):
    keys = jax.random.split(key, len(SIZES) - 1)
    return [jax.random.normal(k, shape) for k, shape in zip(keys, pairwise(SIZES), strict=True)]


def network(weights, images):
    z = images
    for layer in weights:
        z = jnp.tanh(z) @ layer / np.sqrt(len(layer))
    return 4 * z


def main(steps=500):
    table = np.loadtxt(files("fsb.data") / "digits.csv.gz", np.int32, delimiter=",")
    images, labels = jnp.asarray(table[:, :64] / 8 - 1, jnp.float32), jnp.asarray(table[:, 64])
    rule = bayesbinn(learning_rate=0.01, temperature=0.5, train_size=len(images))
    key, losses = jax.random.key(0), []
    lam = init(key)
    state = rule.init(lam)

    def cross_entropy(lam, key, rows):
        logits = network(rule.weights(key, lam), images[rows])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()

    @jax.jit
    def train(lam, state, key):
        choice, *draws = jax.random.split(key, 1 + DRAWS)
        rows = jax.random.randint(choice, (BATCH,), 0, len(images))
        loss = lambda lam: jnp.stack([cross_entropy(lam, draw, rows) for draw in draws]).mean()
        value, grads = jax.value_and_grad(loss)(lam)
        updates, state = rule.update(grads, state, lam)
        return optax.apply_updates(lam, updates), state, value

    for step in range(steps):
        lam, state, value = train(lam, state, jax.random.fold_in(key, step))
        losses.append(float(value))
        if step % 100 == 0:
            print(f"step {step}: cross-entropy {value:.3f}")
    right = (network(jax.tree.map(jnp.sign, lam), images).argmax(-1) == labels).mean()
    print(f"cross-entropy {losses[0]:.3f} -> {losses[-1]:.3f}, accuracy of the signs {right:.1%}")
    return losses


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
