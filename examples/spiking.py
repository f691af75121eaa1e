"""A spiking network that classifies digits, with a surrogate gradient in ``fsb.scan``.

A neuron leaks, integrates its input, spikes where its potential reaches 1 and is then reset. The
derivative of a spike is replaced by a narrow peak at the threshold: a rule of one's own, which
``fsb.local`` makes into an estimator.

Source: Neftci, Mostafa & Zenke 2019 (Surrogate Gradient Learning in Spiking Neural Networks),
arXiv:1901.09948.
"""

import sys
from importlib.resources import files

import jax
import jax.numpy as jnp
import numpy as np
import optax

import fsb

TURNS, NEURONS, CLASSES, BATCH = 20, 100, 10, 100
LEAK = 0.8


@jax.custom_jvp
def spike(eta):
    return (eta >= 0).astype(eta.dtype)


@spike.defjvp
def spike_jvp(primals, tangents):
    return spike(*primals), tangents[0] / (1 + 5 * abs(primals[0])) ** 2


def surrogate_gradient():
    def draw(noise, eta, dist):  # the value for the model, and a draw; here there is no noise
        z = spike(eta)
        return z, jax.lax.stop_gradient(z)

    return fsb.local(draw)


def init(key):
    key_in, key_out = jax.random.split(key)
    draw = jax.nn.initializers.lecun_normal()
    return {"in": draw(key_in, (64, NEURONS)), "out": draw(key_out, (NEURONS, CLASSES))}


def cross_entropy(params, images, labels, sample):
    current = images @ params["in"]

    def turn(carry, _, sample):
        potential, output = carry
        potential = LEAK * potential + current
        z = sample("spike", fsb.Bernoulli(), potential - 1)
        output = LEAK * output + z @ params["out"]
        return (potential * (1 - z), output), z.mean()

    start = jnp.zeros_like(current), jnp.zeros((len(images), CLASSES))
    (_, output), rates = fsb.scan(turn, sample, start, length=TURNS)
    losses = optax.softmax_cross_entropy_with_integer_labels(output, labels)
    return losses, ((output.argmax(-1) == labels).mean(), rates.mean())


def main(steps=400):
    table = np.loadtxt(files("fsb.data") / "digits.csv.gz", np.int32, delimiter=",")
    images, labels = jnp.asarray(table[:, :64] / 16, jnp.float32), jnp.asarray(table[:, 64])
    estimator, optimizer = surrogate_gradient(), optax.adam(2e-3)
    key, losses = jax.random.key(0), []
    params = init(key)
    state = optimizer.init(params)

    @jax.jit
    def train(params, state, key):
        rows = jax.random.randint(key, (BATCH,), 0, len(images))
        loss = lambda params, sample: cross_entropy(params, images[rows], labels[rows], sample)
        (value, aux), grads = fsb.value_and_grad(estimator, loss, has_aux=True)(params, key)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value, aux

    for step in range(steps):
        params, state, value, aux = train(params, state, jax.random.fold_in(key, step))
        losses.append(float(value))
        if step % 100 == 0:
            print(f"step {step}: cross-entropy {value:.3f}, spikes in a turn {aux[1]:.1%}")
    print(f"cross-entropy {losses[0]:.3f} -> {losses[-1]:.3f}, accuracy {aux[0]:.0%}")
    return losses


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
