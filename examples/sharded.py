"""The VAE in vae_jax.py with its batch sharded over all devices.

The train step is the same as on one device: the batch is placed in shards and the params are
copied, and the compiler does the rest. The noise does not depend on the number of devices. To try
it without accelerators:

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python examples/sharded.py
"""

import sys

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from vae_jax import PIXELS, init, negative_elbo

import fsb
from fsb.data.digits import digits

BATCH = 128  # divisible by the number of devices


def main(steps=300, devices=None):
    images = np.float32(digits().train.reshape(-1, PIXELS) / 255)
    estimator, optimizer = fsb.foust(delta=0.1), optax.adam(3e-3)
    key, order, losses = jax.random.key(0), np.random.default_rng(0), []

    mesh = Mesh(jax.devices()[:devices], "batch")
    copied, in_shards = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ([], ["batch"]))
    params = jax.device_put(init(key), copied)
    state = jax.device_put(optimizer.init(params), copied)

    @jax.jit
    def train(params, state, batch, key):
        loss = lambda params, sample: negative_elbo(params, batch, sample)
        value, grads = fsb.value_and_grad(estimator, loss)(params, key)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    for step in range(steps):
        batch = jax.device_put(images[order.integers(len(images), size=BATCH)], in_shards)
        params, state, value = train(params, state, batch, jax.random.fold_in(key, step))
        losses.append(float(value))
        if step % 100 == 0:
            print(f"step {step}: negative ELBO {value:.2f}")
    where = f"{mesh.size} devices" if mesh.size > 1 else "one device"
    print(f"negative ELBO {losses[0]:.2f} -> {losses[-1]:.2f} nats on {where}")
    return losses


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
