"""Trainings side by side: on the same batches, and some rules on the gradients of others."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from net import TRAIN, Data, accuracy, first_signs, mean_loss

from fsb.bayesbinn import BinaryOptimizer, bayesbinn, bayesbinn_released, det_ste_decay
from fsb.runtime.progress import Progress
from fsb.types import Array, PyTree

TAU = 1e-10  # the published temperature
RATE = 1e-3
BATCH = 100
START_UP = 500  # steps; then copies of the deterministic rule set out from the published one
FREE = 1500  # steps that those copies are followed for
EVERY = 250  # steps between evaluations
EARLY = (1, 2, 5, 10, 20, 50, 100, 200)
SETTINGS = ((TRAIN, TAU), (TRAIN, 1e-8), (TRAIN, 1e-6), (TRAIN, 1e-4), (500, TAU), (1, TAU))

SAME = "same gradients, from the start"
SAME_AFTER = "same gradients, after the start-up"
SAME_LARGE = "same gradients, weights of |lam| > 12"
APART = "trained apart, from the start"
APART_AFTER = "trained apart, after the start-up"
CONTROL = "control: det_ste_decay and its copy"


class Member(NamedTuple):
    """A training: lam, its optimizer's state, and ``det_ste_decay`` on the same gradients."""

    lam: PyTree
    state: PyTree
    shadows: dict[str, tuple[PyTree, PyTree]]


Rules = tuple[tuple[str, BinaryOptimizer], ...]


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def run_steps(
    rules: Rules,
    straight: BinaryOptimizer,
    members: dict[str, Member],
    data: Data,
    key: Array,
    start: Array,
    stop: Array,
) -> dict[str, Member]:
    """Steps ``start`` to ``stop`` of the trainings in ``rules``; batches with replacement."""

    def body(step, members):
        data_key, noise_key = jax.random.split(jax.random.fold_in(key, step))
        rows = jax.random.randint(data_key, (BATCH,), 0, len(data.y))
        batch, after = Data(data.x[rows], data.y[rows]), {}
        for name, rule in rules:
            lam, state, shadows = members[name]
            weights, pull = jax.vjp(functools.partial(rule.weights, noise_key), lam)
            slopes = jax.grad(mean_loss)(weights, batch)
            followed = {at: applied(straight, slopes, *shadow) for at, shadow in shadows.items()}
            after[name] = Member(*applied(rule, pull(slopes)[0], lam, state), followed)
        return after

    return jax.lax.fori_loop(start, stop, body, members)


def applied(rule: BinaryOptimizer, grads: PyTree, lam: PyTree, state: PyTree) -> tuple:
    updates, state = rule.update(grads, state, lam)
    return optax.apply_updates(lam, updates), state


def flat(tree: PyTree) -> np.ndarray:
    return np.concatenate([np.asarray(x).ravel() for x in tree])


def agreement(a: PyTree, b: PyTree, among: np.ndarray | slice = slice(None)) -> float:
    """Fraction of the weights, or of some of them, whose signs are the same."""
    return float(((flat(a) < 0) == (flat(b) < 0))[among].mean())


def scaled(lam: PyTree, factor: float) -> PyTree:
    return [x * factor for x in lam]


def begun(rule: BinaryOptimizer, lam: PyTree, **shadows: PyTree) -> Member:
    started = {at: (theirs, rule.init(theirs)) for at, theirs in shadows.items()}
    return Member(lam, rule.init(lam), started)


def train(
    seed: int, steps: int, width: int, temperature: float, rate: float, data: dict[str, Data]
) -> tuple[list[dict], list[dict], float]:
    """Rows of accuracy, rows of agreement, and the share of weights that the start-up took."""
    key, signs = jax.random.key(seed), first_signs(jax.random.key(seed), width)
    along = lambda alpha: optax.cosine_decay_schedule(alpha, steps)
    straight = det_ste_decay(along(RATE))
    released, derived = (
        bayesbinn_released(along(RATE), TRAIN, TAU),
        bayesbinn(along(rate), temperature, TRAIN),
    )
    base = (("bayesbinn", derived), ("released", released), ("det_ste_decay", straight))
    unit = TAU / TRAIN
    members = {
        "bayesbinn": begun(derived, scaled(signs, 0.1)),
        "released": begun(released, scaled(signs, 10.0), **{SAME: scaled(signs, 10 * unit)}),
        "det_ste_decay": begun(straight, scaled(signs, 10 * unit)),
    }
    rules: Rules = base
    accuracies, agreements, large, step = [], [], np.zeros(0), 0
    stops = {*EARLY, START_UP, START_UP + FREE, *range(0, steps + 1, EVERY), steps}
    with Progress("bayesbinn", steps) as bar:
        for stop in sorted(stop for stop in stops if stop <= steps):
            members = run_steps(rules, straight, members, data["train"], key, step, stop)
            step, lam = stop, members["released"].lam
            row = {APART: agreement(lam, members["det_ste_decay"].lam)}
            shadows = members["released"].shadows
            row |= {at: agreement(lam, theirs) for at, (theirs, _) in shadows.items()}
            if SAME_AFTER in shadows:
                row[SAME_LARGE] = agreement(lam, shadows[SAME_AFTER][0], large)
            if "copy" in members:
                row[APART_AFTER] = agreement(lam, members["copy"].lam)
                row[CONTROL] = agreement(members["copy"].lam, members["control"].lam)
            agreements.append({"step": step, **row})
            if step % EVERY == 0 or step == steps:
                right = {name: tested(members[name].lam, data) for name, _ in base}
                accuracies.append({"step": step, **right})
                bar.update(step, **right)
            if step == START_UP:
                large = np.abs(flat(lam)) > 12
                members |= parted(members["released"], unit, key)
                rules = (*base, ("copy", straight), ("control", straight))
            if step == START_UP + FREE:
                rules, members = base, {name: members[name] for name, _ in base}
    return accuracies, agreements, float(large.mean())


def parted(released: Member, unit: float, key: Array) -> dict[str, Member]:
    """The published rule with one more shadow; a copy that goes on as ``det_ste_decay``, another.

    The second copy differs from the first by 1e-6 of each lam: the effect of rounding.
    """
    again = lambda: jax.tree.map(jnp.copy, released.state)  # the same count of steps
    lam = scaled(released.lam, unit)
    keys = jax.random.split(key, len(lam))
    near = [x + 1e-6 * x * jax.random.normal(k, x.shape) for x, k in zip(lam, keys, strict=True)]
    shadows = released.shadows | {SAME_AFTER: (scaled(lam, 1.0), again())}
    return {
        "released": released._replace(shadows=shadows),
        "copy": Member(lam, again(), {}),
        "control": Member(near, again(), {}),
    }


def tested(lam: PyTree, data: dict[str, Data]) -> float:
    return float(accuracy(lam, data["train"].x[:5000], data["test"]))


def settings(seed: int, width: int, data: dict[str, Data], steps: int = 200) -> list[dict]:
    """The published rule at other N and temperatures, from |lam| = 20, where J is 1/tau at once."""
    key, lam = jax.random.key(seed), scaled(first_signs(jax.random.key(seed), width), 20.0)
    straight = det_ste_decay(RATE)
    rules = tuple((f"{n} {tau}", bayesbinn_released(RATE, n, tau)) for n, tau in SETTINGS)
    members = {}
    for (name, rule), (n, tau) in zip(rules, SETTINGS, strict=True):
        members[name] = begun(rule, scaled(lam, 1.0), **{SAME: scaled(lam, tau / n)})
    members = run_steps(rules, straight, members, data["train"], key, 0, steps)
    rows = []
    for (name, _), (n, tau) in zip(rules, SETTINGS, strict=True):
        lam, _, shadows = members[name]
        row = {"N": n, "temperature": tau, "steps": steps, SAME: agreement(lam, shadows[SAME][0])}
        row["weights of |lam| > 12"] = float((np.abs(flat(lam)) > 12).mean())
        rows.append(row | {"test accuracy": tested(lam, data)})
    return rows
