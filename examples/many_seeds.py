"""Sixteen seeds of the VAE in vae_jax.py, trained at once: ``jax.vmap`` around the train step.

Each seed has its own params, batches and noise. A step is one program for all of them.
"""

import sys

import jax
import jax.numpy as jnp
import optax
from vae_jax import BATCH, PIXELS, init, negative_elbo

import fsb
from fsb.data.digits import digits

SEEDS = 16


def main(steps=300):
    images = jnp.asarray(digits().train.reshape(-1, PIXELS) / 255, jnp.float32)
    estimator, optimizer = fsb.foust(delta=0.1), optax.adam(3e-3)
    keys, losses = jax.vmap(jax.random.key)(jnp.arange(SEEDS)), []
    params = jax.vmap(init)(keys)
    state = jax.vmap(optimizer.init)(params)

    @jax.jit
    def train(params, state, step):
        def one(params, state, key):
            choice, noise = jax.random.split(jax.random.fold_in(key, step))
            batch = images[jax.random.randint(choice, (BATCH,), 0, len(images))]
            loss = lambda params, sample: negative_elbo(params, batch, sample)
            value, grads = fsb.value_and_grad(estimator, loss)(params, noise)
            updates, state = optimizer.update(grads, state)
            return optax.apply_updates(params, updates), state, value

        return jax.vmap(one)(params, state, keys)

    for step in range(steps):
        params, state, values = train(params, state, step)
        losses.append(float(values.mean()))
        if step % 100 == 0:
            print(f"step {step}: negative ELBO {values.mean():.2f} +- {values.std():.2f}")
    print(f"negative ELBO {losses[0]:.2f} -> {losses[-1]:.2f} nats, mean of {SEEDS} seeds")
    return losses


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
