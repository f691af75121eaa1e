"""A classifier of digits with binary activations, trained with deterministic straight-through.

Each unit is the sign of its input, in training as in use, and is differentiated as if it were a
sigmoid. With ``has_aux`` a loss may return more than the losses, here the accuracy.
"""

import sys
from importlib.resources import files
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax

import fsb

SIZES, BATCH = (64, 128, 128, 10), 100
SIGN = fsb.Bernoulli(-1.0, 1.0)


def init(key):
    keys = jax.random.split(key, len(SIZES) - 1)
    draw = jax.nn.initializers.lecun_normal()
    return [draw(k, shape) for k, shape in zip(keys, pairwise(SIZES), strict=True)]


def cross_entropy(params, images, labels, sample):
    z = images
    for depth, weights in enumerate(params[:-1]):
        z = sample(f"z{depth}", SIGN, 2 * z @ weights)
    logits = z @ params[-1]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses, (logits.argmax(-1) == labels).mean()


def main(steps=500):
    table = np.loadtxt(files("fsb.data") / "digits.csv.gz", np.int32, delimiter=",")
    images, labels = jnp.asarray(table[:, :64] / 8 - 1, jnp.float32), jnp.asarray(table[:, 64])
    estimator, optimizer = fsb.deterministic_st(), optax.adam(1e-3)
    key, losses = jax.random.key(0), []
    params = init(key)
    state = optimizer.init(params)

    @jax.jit
    def train(params, state, key):
        rows = jax.random.randint(key, (BATCH,), 0, len(images))
        loss = lambda params, sample: cross_entropy(params, images[rows], labels[rows], sample)
        (value, right), grads = fsb.value_and_grad(estimator, loss, has_aux=True)(params, key)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value, right

    for step in range(steps):
        params, state, value, right = train(params, state, jax.random.fold_in(key, step))
        losses.append(float(value))
        if step % 100 == 0:
            print(f"step {step}: cross-entropy {value:.3f}, accuracy {right:.0%}")
    print(f"cross-entropy {losses[0]:.3f} -> {losses[-1]:.3f}, accuracy {right:.0%}")
    return losses


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
