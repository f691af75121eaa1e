"""What ``fsb.scan`` costs: against ``jax.lax.scan`` with the estimator by hand, and to compile.

    python scripts/scan_cost.py [ROUNDS]

The first ratios are those of train steps of examples/rssm.py, medians over interleaved rounds.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import fsb
from fsb.bench.timing import measure, paired

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples"))
import rssm

STEPS = 1  # in a round; many short rounds, as other work disturbs the clock
WIDTHS = 64, 256  # of the example, and of the smallest model in the paper


def by_hand(params, images, keys):
    """The model of the example, with straight-through as DreamerV3 writes it; a key per turn."""

    def straight_through(key, name, dist, eta):
        noisy = eta + jax.random.gumbel(key, eta.shape)
        hard = jax.nn.one_hot(noisy.argmax(-1), eta.shape[-1])
        p = jax.nn.softmax(eta)
        return hard + p - jax.lax.stop_gradient(p)

    def body(carry, given):
        image, key = given
        return rssm.turn(params, carry, image, partial(straight_through, key))

    return jax.lax.scan(body, rssm.start(params, images.shape[1]), (images, keys))[1].mean()


def with_fsb(params, images, key):
    """The same with ``fsb.scan`` and ``fsb.st``."""
    loss = lambda params, sample: rssm.model(params, images, sample)
    return fsb.value_and_grad(fsb.st(), loss)(params, key)


def chunk(value_and_grad, params, optimizer):
    """A function that makes ``STEPS`` train steps, compiled as one program each."""

    @jax.jit
    def train(params, state, key):
        data, noise = jax.random.split(key)
        value, grads = value_and_grad(params, rssm.bouncing(data), noise)
        updates, state = optimizer.update(grads, state)
        return jax.tree.map(jnp.add, params, updates), state, value

    def steps():
        state = optimizer.init(params)
        new, key = params, jax.random.key(0)
        for step in range(STEPS):
            new, state, value = train(new, state, jax.random.fold_in(key, step))
        return float(value)

    return steps


def cost_of_a_step(rounds: int, width: int) -> dict:
    """The ratio of the times of a train step, fsb to by hand."""
    params, optimizer = rssm.init(jax.random.key(0), width), optax.adam(1e-3)
    split = lambda params, images, key: (params, images, jax.random.split(key, len(images)))
    hand = lambda *args: jax.value_and_grad(by_hand)(*split(*args))
    estimates = {"fsb": with_fsb, "by hand": hand}
    seconds = measure({n: chunk(f, params, optimizer) for n, f in estimates.items()}, rounds)
    times = {name: 1e3 * np.median(found) / STEPS for name, found in seconds.items()}
    return paired(seconds["fsb"], seconds["by hand"]) | times


def seconds_to_compile(estimator, turns: int) -> float:
    """To trace and compile the gradient of a scan of so many turns."""

    def loss(logits, sample):
        def body(total, x, sample):
            b = sample("b", fsb.Bernoulli(), logits + total[:, None])
            return jnp.tanh(total + x + b.sum(-1)), None

        return fsb.scan(body, sample, jnp.zeros(len(logits)), jnp.zeros(turns))[0] ** 2

    start = time.perf_counter()
    estimate = jax.jit(fsb.value_and_grad(estimator, loss))
    estimate.lower(jnp.zeros((8, 4)), jax.random.key(0)).compile()
    return time.perf_counter() - start


def main(rounds: int = 300) -> None:
    for width in WIDTHS:
        found = cost_of_a_step(rounds, width)
        times = f"{found['fsb']:.1f} ms, by hand {found['by hand']:.1f} ms"
        spread = f"{found['quartile_1']:.3f}-{found['quartile_3']:.3f}"
        print(f"width {width}: train step {times}, ratio {found['ratio']:.3f} ({spread})")
    for name in ("reinforce", "darn"):
        estimator = getattr(fsb, name)()
        pairs = [[seconds_to_compile(estimator, t) for t in (1000, 10)] for _ in range(5)]
        long, short = np.median(pairs, 0)
        print(f"{name}: compiles in {long:.2f} s for 1000 turns, {short:.2f} s for 10, ", end="")
        print(f"ratio {long / short:.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
