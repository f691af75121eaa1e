"""A recurrent state-space model with 32 x 32 categorical latents, as in DreamerV3, in ``fsb.scan``.

It learns to predict a ball that bounces on a strip of pixels. ``fsb.scan`` is ``jax.lax.scan`` with
a ``sample`` for the body; ``fsb.st`` is the straight-through estimator that DreamerV3 uses.

Source: Hafner et al. 2023 (Mastering Diverse Domains through World Models), arXiv:2301.04104.
"""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import optax

import fsb

PIXELS, TURNS, BATCH = 16, 12, 16
UNITS, VALUES = 32, 32


def init(key, hidden=64):
    shapes = {
        "gates": (hidden + UNITS * VALUES, 3 * hidden),
        "prior": (hidden, UNITS * VALUES),
        "posterior": (hidden + PIXELS, UNITS * VALUES),
        "decoder": (hidden + UNITS * VALUES, PIXELS),
    }
    keys = jax.random.split(key, len(shapes))
    draw = jax.nn.initializers.lecun_normal()
    return {name: draw(k, shapes[name]) for k, name in zip(keys, shapes, strict=True)}


def log_probs(logits):
    """log-probabilities [B, 32, 32] with one percent of a uniform distribution mixed in."""
    p = jax.nn.softmax(logits.reshape(-1, UNITS, VALUES))
    return jnp.log(0.99 * p + 0.01 / VALUES)


def kl(p, q):
    """The divergence of p from q, [B], of which the first nat is free."""
    return jnp.maximum(1.0, (jnp.exp(p) * (p - q)).sum((-1, -2)))


def turn(params, carry, image, sample):
    """One turn of the model: the state given the past, and the cost of the image [B]."""
    h, z = carry
    reset, update, new = jnp.split(jnp.concatenate([h, z], -1) @ params["gates"], 3, -1)
    update = jax.nn.sigmoid(update - 1)
    h = update * jnp.tanh(jax.nn.sigmoid(reset) * new) + (1 - update) * h
    prior = log_probs(h @ params["prior"])
    posterior = log_probs(jnp.concatenate([h, image], -1) @ params["posterior"])
    z = sample("z", fsb.Categorical(), posterior).reshape(h.shape[0], -1)
    pixels = jnp.concatenate([h, z], -1) @ params["decoder"]
    held = jax.lax.stop_gradient
    cost = kl(held(posterior), prior) + 0.1 * kl(posterior, held(prior))
    return (h, z), cost - fsb.Bernoulli().log_prob(pixels, image).sum(-1)


def start(params, batch):
    return jnp.zeros((batch, len(params["prior"]))), jnp.zeros((batch, UNITS * VALUES))


def model(params, images, sample):
    """The mean cost of a turn, for each sequence of images [T, B, pixels]."""
    first = start(params, images.shape[1])
    return fsb.scan(partial(turn, params), sample, first, images)[1].mean(0)


def bouncing(key, batch=BATCH):
    """Sequences of a ball that starts anywhere, at any speed up to 2: [T, B, pixels]."""
    place, speed = jax.random.uniform(key, (2, batch))
    way = 30 * place + (4 * speed - 2) * jnp.arange(TURNS)[:, None]
    ball = abs((way + 15) % 30 - 15)
    return jnp.exp(-((jnp.arange(PIXELS) - ball[:, :, None]) ** 2))


def main(steps=200):
    estimator, optimizer = fsb.st(), optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))
    key, losses = jax.random.key(0), []
    params = init(key)
    state = optimizer.init(params)

    @jax.jit
    def train(params, state, key):
        data, noise = jax.random.split(key)
        images = bouncing(data)
        loss = lambda params, sample: model(params, images, sample)
        value, grads = fsb.value_and_grad(estimator, loss)(params, noise)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    for step in range(steps):
        params, state, value = train(params, state, jax.random.fold_in(key, step))
        losses.append(float(value))
        if step % 100 == 0:
            print(f"step {step}: {value:.2f} nats for each turn")
    print(f"{losses[0]:.2f} -> {losses[-1]:.2f} nats for each turn")
    return losses


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
