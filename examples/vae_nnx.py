"""A Boolean VAE in Flax NNX, trained with FouST.

``nnx.split`` extracts the params as a pytree for ``fsb.value_and_grad``; ``nnx.merge`` rebuilds the
model inside the loss.
"""

import sys

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import fsb
from fsb.data.digits import digits

PIXELS, BATCH = 64, 100


class VAE(nnx.Module):
    def __init__(self, units, rngs):
        self.up = nnx.Linear(PIXELS, units, rngs=rngs)
        self.down = nnx.Linear(units, PIXELS, rngs=rngs)
        self.prior = nnx.Param(jnp.zeros((1, units)))

    def __call__(self, images, sample):
        """The negative ELBO of each image, in nats; the prior of each bit is learned."""
        bits = fsb.Bernoulli(-1.0, 1.0)
        logits = self.up(2 * images - 1)
        z = sample("z", bits, logits)
        log_likelihood = fsb.Bernoulli().log_prob(self.down(z), images).sum(-1)
        prior = jnp.broadcast_to(self.prior[...], z.shape)
        kl = -(bits.log_prob(prior, z) + bits.entropy(logits)).sum(-1)
        return kl - log_likelihood


def main(steps=500):
    images = jnp.asarray(digits().train.reshape(-1, PIXELS) / 255, jnp.float32)
    estimator, optimizer = fsb.foust(delta=0.1), optax.adam(3e-3)
    key, losses = jax.random.key(0), []
    graph, params = nnx.split(VAE(64, nnx.Rngs(0)), nnx.Param)
    state = optimizer.init(params)

    @jax.jit
    def train(params, state, key):
        choice, noise = jax.random.split(key)
        batch = images[jax.random.randint(choice, (BATCH,), 0, len(images))]
        loss = lambda params, sample: nnx.merge(graph, params)(batch, sample)
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
