"""A mixture of linear experts with top-1 routing, trained with RLOO.

The route of an input is one categorical site. Only the chosen expert is evaluated, and the router
learns from the losses of four sampled routes, which need no derivative in the route.
"""

import sys

import jax
import jax.numpy as jnp
import optax

import fsb

EXPERTS, BATCH = 4, 256


def init(key):
    router, experts = jax.random.split(key)
    return {
        "router": {
            "in": jax.random.normal(router, (2, 32)),
            "bias": jnp.zeros(32),
            "out": jnp.zeros((32, EXPERTS)),
        },
        "slopes": 0.1 * jax.random.normal(experts, (EXPERTS, 2)),
        "offsets": jnp.zeros(EXPERTS),
    }


def routes(params, x):
    """The logits of the experts, [B, experts]."""
    router = params["router"]
    return jnp.tanh(x @ router["in"] + router["bias"]) @ router["out"]


def squared_error(params, x, y, sample):
    expert = sample("expert", fsb.Categorical(), routes(params, x)).argmax(-1)
    prediction = (params["slopes"][expert] * x).sum(-1) + params["offsets"][expert]
    return (prediction - y) ** 2


def points(key):
    """|x_1| - |x_2| is another linear function in each quadrant."""
    x = jax.random.uniform(key, (BATCH, 2), minval=-2, maxval=2)
    return x, abs(x[:, 0]) - abs(x[:, 1])


def main(steps=400):
    estimator, optimizer = fsb.rloo(4), optax.adam(1e-2)
    key, losses = jax.random.key(0), []
    params = init(key)
    state = optimizer.init(params)

    @jax.jit
    def train(params, state, key):
        data, noise = jax.random.split(key)
        x, y = points(data)
        loss = lambda params, sample: squared_error(params, x, y, sample)
        value, grads = fsb.value_and_grad(estimator, loss)(params, noise)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    for step in range(steps):
        params, state, value = train(params, state, jax.random.fold_in(key, step))
        losses.append(float(value))
        if step % 100 == 0:
            print(f"step {step}: squared error {value:.3f}")
    used = jnp.bincount(routes(params, points(key)[0]).argmax(-1), length=EXPERTS)
    print(f"squared error {losses[0]:.3f} -> {losses[-1]:.3f}; inputs of each expert: {used}")
    return losses


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
