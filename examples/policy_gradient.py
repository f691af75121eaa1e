"""Policy gradient with RLOO: a linear policy balances a pole on a cart.

An episode is one ``fsb.scan``, the action of each turn a Boolean site, and the loss the number of
turns after the fall; the physics needs no derivative. Every starting state is played four times,
and the baseline of an episode is the mean of the other three.

Source of the physics: Barto, Sutton & Anderson 1983, doi:10.1109/TSMC.1983.6313077.
"""

import sys

import jax
import jax.numpy as jnp
import optax

import fsb

TURNS, EPISODES = 100, 32
PUSH = fsb.Bernoulli(-10.0, 10.0)  # newton


def move(state, force):
    """The cart and the pole, 0.02 seconds later: [B, 4] of place, speed, angle, turning speed."""
    _, speed, angle, turning = state.T
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    push = (force + 0.05 * turning**2 * sin) / 1.1
    twist = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
    change = jnp.stack([speed, push - 0.05 * twist * cos / 1.1, turning, twist], -1)
    return state + 0.02 * change


def turns_lost(params, states, sample):
    """How many of the turns come after the fall, for each starting state."""

    def turn(carry, _, sample):
        state, up = carry
        force = sample("force", PUSH, (state @ params)[:, None])[:, 0]
        state = move(state, force)
        up = up & (abs(state[:, 0]) < 2.4) & (abs(state[:, 2]) < 0.21)
        return (state, up), ~up

    start = states, jnp.ones(len(states), bool)
    return fsb.scan(turn, sample, start, length=TURNS)[1].sum(0)


def main(steps=200):
    estimator, optimizer = fsb.rloo(4), optax.adam(0.1)
    key, losses = jax.random.key(0), []
    params = jnp.zeros(4)
    state = optimizer.init(params)

    @jax.jit
    def train(params, state, key):
        start, noise = jax.random.split(key)
        states = jax.random.uniform(start, (EPISODES, 4), minval=-0.05, maxval=0.05)
        loss = lambda params, sample: turns_lost(params, states, sample)
        value, grads = fsb.value_and_grad(estimator, loss)(params, noise)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    for step in range(steps):
        params, state, value = train(params, state, jax.random.fold_in(key, step))
        losses.append(float(value))
        if step % 50 == 0:
            print(f"step {step}: the pole falls after {TURNS - value:.1f} turns of {TURNS}")
    print(f"turns lost {losses[0]:.1f} -> {losses[-1]:.1f} of {TURNS}")
    return losses


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
