"""A Boolean VAE in plain JAX, trained with FouST.

A model is a function of its params and of ``sample``: it calls ``sample`` where it needs a draw and
returns one loss for each example. ``fsb.value_and_grad`` then stands where ``jax.value_and_grad``
would.
"""

import math
import sys

import jax
import jax.numpy as jnp
import optax

import fsb
from fsb.data.digits import digits

BITS = fsb.Bernoulli(-1.0, 1.0)
UNITS, PIXELS, BATCH = 64, 64, 100


def init(key):
    up, down = jax.random.normal(key, (2, UNITS, PIXELS)) / math.sqrt(PIXELS)
    return {"up": up.T, "up_bias": jnp.zeros(UNITS), "down": down, "down_bias": jnp.zeros(PIXELS)}


def negative_elbo(params, images, sample):
    """One number for each image, in nats; the prior of each bit is a fair coin."""
    logits = (2 * images - 1) @ params["up"] + params["up_bias"]
    z = sample("z", BITS, logits)
    pixels = z @ params["down"] + params["down_bias"]
    log_likelihood = fsb.Bernoulli().log_prob(pixels, images).sum(-1)
    kl = (math.log(2) - BITS.entropy(logits)).sum(-1)
    return kl - log_likelihood


def main(steps=500):
    images = jnp.asarray(digits().train.reshape(-1, PIXELS) / 255, jnp.float32)
    estimator, optimizer = fsb.foust(delta=0.1), optax.adam(3e-3)
    key, losses = jax.random.key(0), []
    params = init(key)
    state = optimizer.init(params)

    @jax.jit
    def train(params, state, key):
        choice, noise = jax.random.split(key)
        batch = images[jax.random.randint(choice, (BATCH,), 0, len(images))]
        loss = lambda params, sample: negative_elbo(params, batch, sample)
        value, grads = fsb.value_and_grad(estimator, loss)(params, noise)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    for step in range(steps):
        params, state, value = train(params, state, jax.random.fold_in(key, step))
        losses.append(float(value))
        if step % 100 == 0:
            print(f"step {step}: negative ELBO {value:.2f}")
    print(f"negative ELBO {losses[0]:.2f} -> {losses[-1]:.2f} nats")
    return losses


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
