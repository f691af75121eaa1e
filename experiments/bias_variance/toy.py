"""Figure 1 of A: the toy E (z - t)^2, t = 0.45, in both encodings, and |z - t|^c at t = 0.499.

In {0, 1} the gradient in p is 1 - 2t > 0, and the minimum p = 0; straight-through sees 2 (p - t)
and stops at p = t. In {-1, 1} the gradient is -4t, and the minimum p = 1, not the paper's 0;
straight-through stops at p = (1 + t) / 2.
"""

import jax
import jax.numpy as jnp
import numpy as np
from common import SEED, SIGNS, ZERO_ONE, check, claim, column, figure, main, sigmoid, style

import fsb

CASES = {  # encoding, t, c
    "{0, 1}, t = 0.45, c = 2": (ZERO_ONE, 0.45, 2.0),
    "{-1, 1}, t = 0.45, c = 2": (SIGNS, 0.45, 2.0),
    "{0, 1}, t = 0.499, c = 1.5": (ZERO_ONE, 0.499, 1.5),
    "{0, 1}, t = 0.499, c = 2": (ZERO_ONE, 0.499, 2.0),
    "{0, 1}, t = 0.499, c = 3": (ZERO_ONE, 0.499, 3.0),
}
ESTIMATORS = {
    "st": fsb.st(),
    "foust": fsb.foust(0.1),
    "darn": fsb.darn(),
    "gumbel_softmax": fsb.gumbel_softmax(0.5),
}
PAPER, SIGNED, *POLYNOMIAL = CASES
REPLICAS, BATCH, STEPS, EVERY = 6, 2048, 3000, 60
RATES = np.array([1.0 if dist == SIGNS else 8.0 for dist, _, _ in CASES.values()])


def descend(estimator, steps):
    """Probabilities along plain gradient descent, [kept, cases, replicas]: a unit a replica."""

    def loss(eta, sample):
        total = 0.0
        for k, (dist, target, power) in enumerate(CASES.values()):
            z = sample(f"case{k}", dist, jnp.broadcast_to(eta[k][None], (BATCH, REPLICAS)))
            total += (jnp.abs(z - target) ** power).sum(-1)
        return total

    estimate = fsb.value_and_grad(estimator, loss)

    def step(eta, key):
        return eta - jnp.float32(RATES)[:, None] * estimate(eta, key)[1], None

    def some(eta, keys):
        return jax.lax.scan(step, eta, keys)[0], eta

    keys = jax.random.split(jax.random.key(SEED), (steps // EVERY, EVERY))
    start = jnp.zeros((len(CASES), REPLICAS))
    last, kept = jax.jit(lambda: jax.lax.scan(some, start, keys))()
    return sigmoid(np.concatenate([np.asarray(kept), np.asarray(last)[None]]))


def exactly(steps):
    """The same with the gradient itself, [kept, cases]."""
    rise = np.array([
        abs(dist.high - t) ** c - abs(dist.low - t) ** c for dist, t, c in CASES.values()
    ])  # fmt: skip
    eta, kept = np.zeros(len(CASES)), []
    for step in range(steps + 1):
        if step % EVERY == 0:
            kept.append(eta.copy())
        eta -= RATES * sigmoid(eta) * sigmoid(-eta) * rise
    return sigmoid(np.array(kept))


def measure(steps=STEPS):
    found = {"gradient": exactly(steps)[..., None].repeat(REPLICAS, -1)}
    found |= {name: descend(estimator, steps) for name, estimator in ESTIMATORS.items()}
    rows, end = [], {}
    for name, p in found.items():
        for k, case in enumerate(CASES):
            end[name, case] = p[-1, k].mean()
            rows += [
                {"case": case, "estimator": name, "step": i * EVERY, "p": row.mean(),
                 "spread": row.std(ddof=1)}
                for i, row in enumerate(p[:, k])
            ]  # fmt: skip
    signed_rest = (1 + 0.45) / 2
    here = [
        check("FouST in {0, 1}", end["foust", PAPER], "<", 0.05),
        check("ST in {0, 1} stays at t", end["st", PAPER], "=", 0.45, 0.03),
    ]
    record = claim(
        "On E (z - t)^2, t = 0.45, FouST reaches the minimum p(z = +1) = 0 and straight-through "
        "does not.",
        f"after {steps} steps, in {{0, 1}}: FouST p = {end['foust', PAPER]:.3f}, ST "
        f"{end['st', PAPER]:.3f}; in {{-1, 1}}: FouST {end['foust', SIGNED]:.3f}, ST "
        f"{end['st', SIGNED]:.3f}",
        f"0, t = 0.45; in {{-1, 1}} 1, (1 + t) / 2 = {signed_rest}",
        [*here, check("FouST in {-1, 1}, the paper's encoding", end["foust", SIGNED], "<", 0.05)],
        [
            *here,
            check("FouST in {-1, 1}", end["foust", SIGNED], ">", 0.95),
            check("ST in {-1, 1} stays at (1 + t) / 2", end["st", SIGNED], "=", signed_rest, 0.03),
        ],
        note="The minimum is at p = 0 in {0, 1} only; in {-1, 1} the gradient is -4t.",
    )
    rest = {case: 1 / (1 + ((1 - t) / t) ** (c - 1)) for case, (_, t, c) in CASES.items()}
    polynomial = claim(
        "The same for |z - t|^c, t = 0.499, c = 1.5, 2, 3.",
        "; ".join(
            f"c = {CASES[case][2]:g}: FouST {end['foust', case]:.3f}, DARN "
            f"{end['darn', case]:.3f}, "
            f"ST {end['st', case]:.3f}, Gumbel-Softmax {end['gumbel_softmax', case]:.3f}, gradient "
            f"{end['gradient', case]:.3f}"
            for case in POLYNOMIAL
        ),
        "; ".join(f"0, ST {rest[case]:.4f}" for case in POLYNOMIAL),
        [
            *(check(f"FouST, {case}", end["foust", case], "<", 0.25) for case in POLYNOMIAL),
            *(check(f"ST, {case}", end["st", case], "=", rest[case], 0.03) for case in POLYNOMIAL),
        ],
        note=f"Mean p after {steps} steps, {REPLICAS} replicas, batch {BATCH}; slope 0.002 at "
        "most.",
    )
    return rows, {"A fig 1": record, "A fig 1, |z - t|^c": polynomial}


def picture(rows):
    found, axes = figure(3, 3.4, 2.9, rows=2)
    for one, case in zip(axes.flat, CASES, strict=False):
        for k, name in enumerate(("gradient", *ESTIMATORS)):
            step, p, spread = (
                column(rows, key, case=case, estimator=name) for key in ("step", "p", "spread")
            )
            one.plot(step, p, label=name, markevery=(2 * k, 10), **style(k))
            one.fill_between(
                step, p - spread, p + spread, color=style(k)["color"], alpha=0.15, lw=0
            )
        one.set_title(case.replace("-1", "\N{MINUS SIGN}1"), size=9, loc="left")
        one.set(xlabel="step", ylabel="p, probability of the high value", ylim=(-0.03, 1.03))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    spare = axes.flat[-1]
    spare.axis("off")
    spare.legend(handles, labels, loc="center left", frameon=False, fontsize=9,
                 title=f"band: one standard deviation\nof {REPLICAS} replicas")  # fmt: skip
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
