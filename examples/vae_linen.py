"""A Boolean VAE in Flax Linen, trained with DARN.

A module takes ``sample`` as an argument of its call; nothing else changes.
"""

import math
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import fsb
from fsb.data.digits import digits

PIXELS, BATCH = 64, 100


class VAE(nn.Module):
    units: int = 64

    @nn.compact
    def __call__(self, images, sample):
        """The negative ELBO of each image, in nats; the prior of each bit is a fair coin."""
        logits = nn.Dense(self.units)(2 * images - 1)
        z = sample("z", fsb.Bernoulli(), logits)
        pixels = nn.Dense(PIXELS)(2 * z - 1)
        log_likelihood = fsb.Bernoulli().log_prob(pixels, images).sum(-1)
        kl = (math.log(2) - fsb.Bernoulli().entropy(logits)).sum(-1)
        return kl - log_likelihood


def main(steps=500):
    images = jnp.asarray(digits().train.reshape(-1, PIXELS) / 255, jnp.float32)
    model, estimator, optimizer = VAE(), fsb.darn(), optax.adam(3e-3)
    key, losses = jax.random.key(0), []
    # Initialisation needs shapes only, so the mean does for a sample.
    params = model.init(key, images[:1], lambda name, dist, eta: dist.mean(eta))
    state = optimizer.init(params)

    @jax.jit
    def train(params, state, key):
        choice, noise = jax.random.split(key)
        batch = images[jax.random.randint(choice, (BATCH,), 0, len(images))]
        loss = lambda params, sample: model.apply(params, batch, sample)
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
