"""The VAE of vae_jax.py in bfloat16, with params and optimiser in float32.

The params are cast within the loss, so that their gradients come back in float32. Draws take the
dtype of their logits, but are made from float32 noise: bfloat16 noise would round probabilities.
Likelihood and KL, which are sums of many terms, are in float32.
"""

import math
import sys

import jax
import jax.numpy as jnp
import optax
from vae_jax import BATCH, BITS, PIXELS, init

import fsb
from fsb.data.digits import digits


def negative_elbo(params, images, sample):
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    logits = (2 * images - 1).astype(jnp.bfloat16) @ half["up"] + half["up_bias"]
    z = sample("z", BITS, logits)
    pixels = z @ half["down"] + half["down_bias"]
    log_likelihood = fsb.Bernoulli().log_prob(pixels.astype(jnp.float32), images).sum(-1)
    kl = (math.log(2) - BITS.entropy(logits.astype(jnp.float32))).sum(-1)
    return kl - log_likelihood, z


def main(steps=300):
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
        (value, z), grads = fsb.value_and_grad(estimator, loss, has_aux=True)(params, noise)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value, z

    for step in range(steps):
        params, state, value, z = train(params, state, jax.random.fold_in(key, step))
        losses.append(float(value))
        if step % 100 == 0:
            print(f"step {step}: negative ELBO {value:.2f}")
    dtypes = f"bits in {z.dtype}, params in {params['up'].dtype}"
    print(f"negative ELBO {losses[0]:.2f} -> {losses[-1]:.2f} nats, {dtypes}")
    return losses


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
