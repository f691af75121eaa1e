"""Proposition 10: a scaled representation {-a, a} is another function, not another estimator.

ST of F_a(y) = f(a y) loses its bias as a -> 0, for F_a becomes linear: A's eqs 15-16. But the same
loss, gradients and training come from {-1, 1} with the next layer's weights started at a times
theirs, and a^2 of their learning rate.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import SEED, check, claim, column, draws, figure, fit, legend, main, sigmoid, style

import fsb

SCALES = (1.0, 0.7, 0.5, 0.35, 0.25)
ETA = np.array([0.5, -0.9, 0.2, 1.2])
rng = np.random.default_rng(5)
INNER, OUTER = 1.5 * rng.normal(size=(4, 16)) / 2, rng.normal(size=16) / 4
STEPS, RATE, BATCH = 60, 0.5, 64


def network(weights, z):
    return jnp.tanh(z @ weights) @ jnp.float32(OUTER)


def trained(estimator, scale, folded):
    """Losses and logits along a training; ``folded``: {-1, 1}, and the scale in the weights."""
    dist = fsb.Bernoulli(-1.0, 1.0) if folded else fsb.Bernoulli(-scale, scale)
    factor = scale if folded else 1.0
    start = {"eta": jnp.float32(ETA), "weights": factor * jnp.float32(INNER)}

    def loss(params, sample):
        eta = jnp.broadcast_to(params["eta"], (BATCH, 4))
        return network(params["weights"], sample("z", dist, eta))

    estimate = fsb.value_and_grad(estimator, loss)
    optimizer = optax.partition(
        {"eta": optax.sgd(RATE), "weights": optax.sgd(RATE * factor**2)},
        {"eta": "eta", "weights": "weights"},
    )

    def step(carry, key):
        params, state = carry
        value, grads = estimate(params, key)
        updates, state = optimizer.update(grads, state)
        params = optax.apply_updates(params, updates)
        return (params, state), (value, params["eta"])

    keys = jax.random.split(jax.random.key(SEED), STEPS)
    run = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), keys)[1])
    return [np.asarray(x, np.float64) for x in run()]


def measure(count=2**19):
    rows, signs = [], fsb.fourier.states(4, fsb.Bernoulli(-1.0, 1.0))
    p = sigmoid(ETA)
    for scale in SCALES:
        values = np.asarray(network(jnp.float32(INNER), jnp.float32(scale * signs)), np.float64)
        true = fsb.fourier.logit_gradient(fsb.fourier.transform(values, p), p)
        f = lambda z: network(jnp.float32(INNER), z)
        found = draws(fsb.st(), f, ETA, count, fsb.Bernoulli(-scale, scale)).astype(np.float64)
        bias, error = found.mean(0) - true, found.std(0) / np.sqrt(count)
        rows.append({
            "scale": scale, "gradient": np.linalg.norm(true), "bias": np.linalg.norm(bias),
            "error": np.linalg.norm(error),
        })  # fmt: skip
    gap = {}
    for name, estimator in (("st", fsb.st()), ("darn", fsb.darn()), ("foust", fsb.foust())):
        (a, eta_a), (b, eta_b) = trained(estimator, 0.5, False), trained(estimator, 0.5, True)
        gap[name] = max(abs(a - b).max(), abs(eta_a - eta_b).max())
        moved = abs(eta_a[-1] - ETA).max()
        for step, (x, y) in enumerate(zip(a, b, strict=True)):
            rows.append({"estimator": name, "step": step, "loss": x, "loss_folded": y})
    bias, gradient, error = (
        np.array([row[key] for row in rows[: len(SCALES)]]) for key in ("bias", "gradient", "error")
    )
    relative = bias / gradient
    scales = np.log(np.array(SCALES))
    (_, rate), _ = fit(scales, np.log(relative), error / bias, (0, 1))
    half, least = gradient[2] / gradient[0], gradient[-1] / gradient[0]
    same = claim(
        "Representation scaling compares the gradients of different functions; it is another start "
        "of the next layer's weights.",
        f"ST, DARN and FouST in {{-0.5, 0.5}} and in {{-1, 1}} with half the weights: largest "
        f"difference of losses and logits over {STEPS} SGD steps {max(gap.values()):.1e}; the "
        f"true gradient at a = 0.5 is {half:.2f} of that at a = 1, at {SCALES[-1]} {least:.2f}",
        "0; not 1",
        [
            check("largest difference of the two trainings", max(gap.values()), "<", 1e-4),
            check("how far the logits went, for comparison", moved, ">", 0.1),
            check(
                "true gradient at a = 0.25 over that at 1, away from 1", abs(least - 1), ">", 0.1
            ),
        ],
        note="Same noise in both; the weights' learning rate is a^2 times as large in {-1, 1}.",
    )
    damped = claim(
        "Representation scaling {-a, a} reduces the bias of ST by damping higher Taylor terms.",
        f"bias / gradient of ST {relative[0]:.3f} at a = 1, {relative[2]:.3f} at 0.5, "
        f"{relative[-1]:.3f} at {SCALES[-1]}; it goes as a^{rate:.2f}. The same to "
        f"{max(gap.values()):.0e} with weights scaled by a instead",
        "below 1 at a < 1",
        [
            check("relative bias at a = 0.5 over that at 1", relative[2] / relative[0], "<", 0.8),
            check("exponent of a", rate, ">", 0.5),
            check("true gradient at a = 0.5 over that at 1", half, "=", 1, 0.05),
        ],
        [
            check("relative bias at a = 0.5 over that at 1", relative[2] / relative[0], "<", 0.8),
            check("difference to scaled weights", max(gap.values()), "<", 1e-4),
        ],
        note="The bias falls because f(a y) is another, more linear function, with another "
        "gradient "
        "(B, Proposition 10): the claim as stated asks for the same one.",
    )
    return rows, {"B prop 10": same, "A sec 4.4": damped}


def picture(rows):
    found, (left, right) = figure(2)
    scale, bias, gradient, error = (
        np.array([row[key] for row in rows if "scale" in row])
        for key in ("scale", "bias", "gradient", "error")
    )
    left.errorbar(scale, bias / gradient, 4 * error / gradient, label="bias / gradient", **style(0))
    left.plot(scale, gradient / gradient[0], label="gradient, relative to a = 1", **style(1))
    left.set(
        xlabel=r"a, of the representation $\{-a, a\}$", ylabel="straight-through", ylim=(0, None)
    )
    training = [row for row in rows if "step" in row]
    for k, name in enumerate(("st", "darn", "foust")):
        step, a, b = (
            column(training, key, estimator=name) for key in ("step", "loss", "loss_folded")
        )
        right.plot(step, a, label=f"{name}, values ±1/2", **{**style(k), "marker": ""})
        some = slice(3 * k, None, 9)
        mark = {**style(k), "linestyle": "none"}
        right.plot(step[some], b[some], label=f"{name}, values ±1, weights / 2", **mark)
    right.set(xlabel="SGD step", ylabel="loss")
    legend(left)
    legend(right)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
