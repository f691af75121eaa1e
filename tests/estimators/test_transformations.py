"""Which estimator serves which transformation: the table of docs/transformations.md, and proofs.

That a scan is right is shown in test_scans.py, and a site that all examples share in
test_shapes.py; that JAX's own transformations are refused, in tests/sites/test_misplaced.py.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import BERNOULLI_ROWS

import fsb

KEY = jax.random.key(5)
LOCAL = ("darn", "gumbel_softmax-0.5")
DRAWS = 2**12
# A local rule does not know where it is applied: two stand for all of them.
ROWS = [
    row for row in BERNOULLI_ROWS if not row.variant and (row.draws is None or row.name in LOCAL)
]
SPIN = fsb.Bernoulli(-1.0, 1.0)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "transformations.md"
FAMILIES = {"pathwise": "Normal", "fourier_exact": "Normal", "fourier_series": "Normal",
            "weak_reparameterization": "Exponential", "fini": "Poisson",
            "eat": "Poisson"}  # fmt: skip
ARGUMENTS = {
    "average": lambda: fsb.average(fsb.disarm(), 2),
    "debias": lambda: fsb.debias(fsb.st()),
    "iw_arms": lambda: fsb.iw_arms(2),
    "iw_disarm": lambda: fsb.iw_disarm(2),
    "multi_sample": lambda: fsb.multi_sample(fsb.darn(), 2),
    "noise_operator": lambda: fsb.noise_operator(fsb.darn()),
    "switch": lambda: fsb.switch(fsb.st(), fsb.disarm(), 1),
    "vimco": lambda: fsb.vimco(2),
}
OTHERS = {"local", "only", "per_site"}  # as the estimators that they are given
NAMES = sorted(set(fsb.estimators.__all__) - OTHERS)


def eta_of(x, family):
    return (x, jnp.ones_like(x)) if family == "Normal" else x


def unit(sample, x, family):
    dist = SPIN if family == "Bernoulli" else getattr(fsb, family)()
    return sample("b", dist, eta_of(x, family)).sum(-1)


def scan(params, sample, family):
    turn = lambda h, x, sample: (h + unit(sample, params + x, family), None)
    return fsb.scan(turn, sample, jnp.zeros(len(params)), jnp.array([0.3, -0.2]))[0] ** 2


def vmap(params, sample, family):
    return fsb.vmap(lambda x, sample: unit(sample, x, family) ** 2, sample)(params)


def remat(params, sample, family):
    return fsb.remat(lambda x, sample: unit(sample, x, family) ** 2, sample)(params)


def plain(params, sample, family):
    return unit(sample, params, family) ** 2


def shared(params, sample, family):
    return (unit(sample, params[:1], family) + params[:, 0]) ** 2


CASES = {"fsb.scan": scan, "fsb.vmap": vmap, "fsb.remat": remat, "shared by the batch": shared}


def gradients(make, loss, params):
    control, state = fsb.init(make(), loss, params, KEY)
    return fsb.stateful_value_and_grad(make(), loss)(params, control, state, KEY).params


def served(name, case):
    """Whether an estimator serves a case; if not, it says so in a line."""
    make = ARGUMENTS.get(name, getattr(fsb, name))
    loss = partial(case, family=FAMILIES.get(name, "Bernoulli"))
    try:
        jax.eval_shape(lambda x: gradients(make, loss, x), jnp.ones((3, 2)))
    except fsb.FsbError as error:
        return "refused" if "\n" not in error.args[0] else "refused in several lines"
    return "right"


def table():
    head = ["estimator", *CASES]
    lines = [head, ["---"] * len(head)]
    lines += [[f"`{name}`", *(served(name, case) for case in CASES.values())] for name in NAMES]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@pytest.mark.slow
def test_the_page_has_this_table():
    """After a change: put the table of the failure into the page."""
    assert table() in PAGE.read_text()


def rows(loss):
    """The gradients of single rows of one batch, each a draw of its own."""
    params = jnp.broadcast_to(jnp.array([[0.4, -0.9]]), (DRAWS, 2))
    return lambda make: (
        DRAWS
        * np.asarray(
            jax.jit(lambda x: gradients(make, partial(loss, family="Bernoulli"), x))(params), float
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_remat_changes_nothing(row):
    np.testing.assert_allclose(rows(remat)(row.make), rows(plain)(row.make), rtol=1e-5, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_means_of_a_mapped_model(row):
    one, other = rows(vmap)(row.make), rows(plain)(row.make)
    errors = [x.std(0) / np.sqrt(DRAWS) for x in (one, other)]
    assert (abs(one.mean(0) - other.mean(0)) < 4.5 * np.hypot(*errors) + 1e-4).all()
    if row.draws is None:
        exact = partial(vmap, family="Bernoulli")
        true = fsb.exact_gradient(exact, jnp.array([[0.4, -0.9]]))[0]
        assert (abs(one.mean(0) - true) < 4.5 * errors[0] + 1e-4).all()
