"""A VQ-VAE: images of digits as eight entries of a codebook.

Each code is a categorical site, whose logits are the negative squared distances of the encoder's
output to the entries. Its straight-through gradient, here ReinMax, trains encoder and codebook at
once: there is no copying of gradients and no commitment loss.

Source: van den Oord et al. 2017 (Neural Discrete Representation Learning), arXiv:1711.00937; with
sampled codes as in Takida et al. 2022 (SQ-VAE), arXiv:2205.07547.
"""

import math
import sys

import jax
import jax.numpy as jnp
import optax

import fsb
from fsb.data.digits import digits

PIXELS, HIDDEN, BATCH = 64, 128, 100
CODES, ENTRIES, DEPTH = 8, 16, 4


def init(key):
    shapes = {
        "encoder_in": (PIXELS, HIDDEN),
        "encoder_out": (HIDDEN, CODES * DEPTH),
        "decoder_in": (CODES * DEPTH, HIDDEN),
        "decoder_out": (HIDDEN, PIXELS),
    }
    keys = jax.random.split(key, len(shapes))
    draw = jax.nn.initializers.lecun_normal()
    params = {name: draw(k, shapes[name]) for k, name in zip(keys, shapes, strict=True)}
    return params | {"codebook": jax.random.normal(key, (ENTRIES, DEPTH))}


def negative_elbo(params, images, sample):
    hidden = jax.nn.relu((2 * images - 1) @ params["encoder_in"])
    points = (hidden @ params["encoder_out"]).reshape(-1, CODES, 1, DEPTH)
    logits = -((points - params["codebook"]) ** 2).sum(-1)
    codes = sample("codes", fsb.Categorical(), logits)  # one-hot, [B, codes, entries]
    latent = (codes @ params["codebook"]).reshape(-1, CODES * DEPTH)
    pixels = jax.nn.relu(latent @ params["decoder_in"]) @ params["decoder_out"]
    log_likelihood = fsb.Bernoulli().log_prob(pixels, images).sum(-1)
    kl = (math.log(ENTRIES) - fsb.Categorical().entropy(logits)).sum(-1)
    return kl - log_likelihood, codes.mean((0, 1))


def main(steps=500):
    images = jnp.asarray(digits().train.reshape(-1, PIXELS) / 255, jnp.float32)
    estimator, optimizer = fsb.reinmax(), optax.adam(3e-3)
    key, losses = jax.random.key(0), []
    params = init(key)
    state = optimizer.init(params)

    @jax.jit
    def train(params, state, key):
        choice, noise = jax.random.split(key)
        batch = images[jax.random.randint(choice, (BATCH,), 0, len(images))]
        loss = lambda params, sample: negative_elbo(params, batch, sample)
        (value, use), grads = fsb.value_and_grad(estimator, loss, has_aux=True)(params, noise)
        updates, state = optimizer.update(grads, state)
        perplexity = jnp.exp(jax.scipy.special.entr(use).sum())
        return optax.apply_updates(params, updates), state, value, perplexity

    for step in range(steps):
        params, state, value, perplexity = train(params, state, jax.random.fold_in(key, step))
        losses.append(float(value))
        if step % 100 == 0:
            print(f"step {step}: negative ELBO {value:.2f}, entries in use {perplexity:.1f}")
    print(f"negative ELBO {losses[0]:.2f} -> {losses[-1]:.2f}, entries in use {perplexity:.1f}")
    return losses


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
