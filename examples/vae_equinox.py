"""A Boolean VAE in Equinox, trained with DisARM: a model of one example under ``fsb.vmap``.

The params are the module itself. Leaves that are no floating-point arrays, such as activation
functions, have a gradient of None, as with ``equinox.filter_grad``.
"""

import math
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import fsb
from fsb.data.digits import digits

PIXELS, BATCH = 64, 100


class VAE(eqx.Module):
    up: eqx.nn.Linear
    down: eqx.nn.MLP

    def __init__(self, units, key):
        up, down = jax.random.split(key)
        self.up = eqx.nn.Linear(PIXELS, units, key=up)
        self.down = eqx.nn.MLP(units, PIXELS, width_size=128, depth=1, key=down)

    def __call__(self, image, sample):
        """The negative ELBO of one image [64], in nats."""
        logits = self.up(2 * image - 1)
        z = sample("z", fsb.Bernoulli(-1.0, 1.0), logits)
        log_likelihood = fsb.Bernoulli().log_prob(self.down(z), image).sum()
        kl = (math.log(2) - fsb.Bernoulli().entropy(logits)).sum()
        return kl - log_likelihood


def main(steps=500):
    images = jnp.asarray(digits().train.reshape(-1, PIXELS) / 255, jnp.float32)
    estimator, optimizer = fsb.disarm(), optax.adam(3e-3)
    key, losses = jax.random.key(0), []
    model = VAE(64, key)
    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def train(model, state, key):
        choice, noise = jax.random.split(key)
        batch = images[jax.random.randint(choice, (BATCH,), 0, len(images))]
        loss = lambda model, sample: fsb.vmap(model, sample)(batch)
        value, grads = fsb.value_and_grad(estimator, loss)(model, noise)
        updates, state = optimizer.update(grads, state)
        return eqx.apply_updates(model, updates), state, value

    for step in range(steps):
        model, state, value = train(model, state, jax.random.fold_in(key, step))
        losses.append(float(value))
        if step % 100 == 0:
            print(f"step {step}: negative ELBO {value:.2f}")
    print(f"negative ELBO {losses[0]:.2f} -> {losses[-1]:.2f} nats")
    return losses


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
