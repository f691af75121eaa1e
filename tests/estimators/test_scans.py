"""Every estimator inside scans, against enumeration and against the same model without a scan."""

from __future__ import annotations

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import BERNOULLI_ROWS, ROWS

import fsb
from fsb.estimators._turns import values_until
from fsb.sites import Site, bind, trace_sites

KEY = jax.random.key(3)
INPUTS = jnp.array([0.3, -0.2, 0.5])
DRAWS = 2**12
SPIN = fsb.Bernoulli(-1.0, 1.0)
CATEGORICAL = tuple(row for row in ROWS if "Categorical" in row.serves and not row.variant)


def turn(params, h, x, draw):
    """One turn of a small recurrent net; the second site of the turn depends on the first."""
    w, u, v = params["w"], params["u"], params["v"]
    b = draw("b", SPIN, jnp.stack([w[:, 0] * h + x, 0.3 * h - w[:, 1]], -1))
    c = draw("c", fsb.Bernoulli(), (u * b.sum(-1) + h)[:, None])
    h = jnp.tanh(h + v[:, 0] * b[:, 0] - v[:, 1] * b[:, 1] + c[:, 0])
    return h, (h - 0.4) ** 2 + 0.3 * b[:, 0] * c[:, 0] * x


def scanned(params, sample, turn=turn, inputs=INPUTS):
    first = params["start"]
    last, costs = fsb.scan(partial(turn, params), sample, first, inputs)
    return last**2 + costs.sum(0)


def unrolled(params, sample, turn=turn, inputs=INPUTS):
    h, total = params["start"], 0
    for t, x in enumerate(inputs):
        h, cost = turn(params, h, x, lambda name, *rest, t=t: sample(f"{name}{t}", *rest))
        total = total + cost
    return h**2 + total


def parameters(rows):
    """Shared by the turns; the same in every row, so that each row is a draw of its own."""
    row = {"w": jnp.array([0.7, 0.2]), "u": jnp.float32(0.6), "v": jnp.array([0.5, 0.8])}
    row["start"] = jnp.float32(0.1)
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (rows, *x.shape)), row)


def gradients(estimator, loss, rows=DRAWS, params=parameters):
    """The gradients of single rows, [rows, parameters]."""
    params = params(rows)
    control, state = fsb.init(estimator, loss, params, KEY)
    estimate = jax.jit(fsb.stateful_value_and_grad(estimator, loss))
    found = estimate(params, control, state, KEY).params
    flat = [rows * np.asarray(x, float).reshape(rows, -1) for x in jax.tree.leaves(found)]
    return np.concatenate(flat, 1)


@functools.cache
def exact(loss):
    return gradients(fsb.exact(), loss, 1)[0]


@pytest.fixture
def true():
    return exact(unrolled)


@pytest.mark.slow
def test_enumeration_of_a_scan_is_that_of_its_turns(true):
    np.testing.assert_allclose(gradients(fsb.exact(), scanned, 1)[0], true, rtol=1e-5)


QUICK = ("darn", "reinforce", "disarm")


def named(rows):
    """Three of them stand for the kinds of estimators in the fast tests."""
    mark = lambda row: () if row.name in QUICK else pytest.mark.slow
    return [pytest.param(row, id=row.name, marks=mark(row)) for row in rows]


@pytest.mark.parametrize("row", named([row for row in BERNOULLI_ROWS if not row.variant]))
def test_means(row, true):
    found = gradients(row.make(), scanned)
    error = found.std(0) / np.sqrt(DRAWS)
    if row.draws is None:  # unbiased
        assert (abs(found.mean(0) - true) < 4.5 * error + 1e-4).all()
        return
    other = gradients(row.make(), unrolled)
    both = np.hypot(error, other.std(0) / np.sqrt(DRAWS))
    assert (abs(found.mean(0) - other.mean(0)) < 4.5 * both + 1e-4).all()


def choice(params, h, x, draw):
    """As ``turn``, with categorical units."""
    w, u = params["w"], params["u"]
    logits = jnp.stack([w[:, 0] * h + x, 0.3 * h - w[:, 1], u * h], -1)
    b = draw("b", fsb.Categorical(), logits[:, None])[:, 0]
    h = jnp.tanh(h + (b * params["v"][:, :1] * jnp.array([[1.0, -1.0, 0.4]])).sum(-1))
    return h, (h - 0.4) ** 2 + b[:, 1] * x


scanned_choices, choices = partial(scanned, turn=choice), partial(unrolled, turn=choice)


@pytest.mark.slow
@pytest.mark.parametrize("row", CATEGORICAL, ids=lambda row: row.name)
def test_means_of_categorical_sites(row):
    found, other = (gradients(row.make(), loss) for loss in (scanned_choices, choices))
    errors = [x.std(0) / np.sqrt(DRAWS) for x in (found, other)]
    if row.draws is None:
        assert (abs(found.mean(0) - exact(choices)) < 4.5 * errors[0] + 1e-4).all()
    difference = abs(found.mean(0) - other.mean(0))
    assert (difference < 4.5 * np.hypot(*errors) + 1e-4).all()


def around(params, h, x, sample):
    """Sites before, within and after an inner scan, which has as many turns as x numbers."""
    b = sample("b", SPIN, (params["w"][:, 0] * h)[:, None])[:, 0]
    h, _ = fsb.scan(partial(within, params), sample, h + 0.3 * b, x, name="inner")
    c = sample("c", fsb.Bernoulli(), (params["u"] * h)[:, None])[:, 0]
    return jnp.tanh(h + c), (h - c) ** 2


def within(params, h, x, sample):
    b = sample("b", SPIN, (params["w"][:, 1] + h * x)[:, None])[:, 0]
    return h + params["v"][:, 0] * b * x, None


def flat(params, sample):
    """``nested`` without scans."""
    h, total = params["start"], 0
    for t, xs in enumerate(NESTED):
        b = sample(f"b{t}", SPIN, (params["w"][:, 0] * h)[:, None])[:, 0]
        h = h + 0.3 * b
        for i, x in enumerate(xs):
            draw = lambda name, *rest, t=t, i=i: sample(f"{name}{t}{i}", *rest)
            h, _ = within(params, h, x, draw)
        c = sample(f"c{t}", fsb.Bernoulli(), (params["u"] * h)[:, None])[:, 0]
        h, total = jnp.tanh(h + c), total + (h - c) ** 2
    return h**2 + total


NESTED = jnp.array([[0.5, -0.9], [0.7, 0.2]])
nested = partial(scanned, turn=around, inputs=NESTED)
SPREAD = ("darn", "disarm", "rebar", "local_expectation", "muprop", "double_cv", "rodeo", "nvil")


@pytest.mark.slow
@pytest.mark.parametrize("name", SPREAD)
def test_nested_scans(name):
    true = exact(flat)
    np.testing.assert_allclose(exact(nested), true, rtol=1e-5)
    if name == "darn":
        true = gradients(fsb.darn(), flat).mean(0)
    found = gradients(getattr(fsb, name)(), nested)
    assert (abs(found.mean(0) - true) < 5.5 * found.std(0) / np.sqrt(DRAWS) + 1e-4).all()


def test_what_a_turn_of_nested_scans_holds():
    """All of the turns before; of its own turn what is above: the inner scan of 2 times 3 turns."""

    def site(name, turns, scans):
        zeros = jnp.zeros((1, *turns, 1))
        return Site(name, SPIN, zeros, zeros, zeros, scans=scans)

    inner = site("inner", (2, 3), ("outer", "inner"))
    sites = site("above", (2,), ("outer",)), inner, site("below", (2,), ("outer",))
    for turn in range(6):
        _, until = values_until(sites, 1, turn, jnp.zeros((1, 1)))
        assert until["above"].tolist() == [True, turn >= 3]
        assert until["inner"].reshape(-1).tolist() == [k <= turn for k in range(6)]
        assert until["below"].tolist() == [turn >= 3, False]


@pytest.mark.slow
@pytest.mark.parametrize("make", [fsb.muprop, fsb.rodeo])
def test_the_variance_of_a_scan_is_that_of_its_turns(make):
    """The control variates of a turn are its own."""
    one, other = (gradients(make(), loss).var(0) for loss in (scanned, unrolled))
    np.testing.assert_allclose(one, other, rtol=0.15)


@pytest.mark.slow
def test_a_site_of_a_scan_has_the_axes_of_its_turns():
    sites = {site.name: site for site in trace_sites(nested, parameters(7))}
    assert list(sites) == ["scan/b", "scan/inner/b", "scan/c"]
    assert sites["scan/inner/b"].z.shape == (7, 2, 2, 1)
    assert sites["scan/inner/b"].scans == ("scan", "scan/inner")
    assert sites["scan/c"].turns == (2,)


@pytest.mark.slow
@pytest.mark.parametrize("make", [fsb.darn, fsb.reinforce, fsb.rloo])
def test_the_program_does_not_grow_with_the_turns(make):
    def size(turns):
        loss = partial(scanned, inputs=jnp.zeros(turns))
        estimate = fsb.value_and_grad(make(), loss)
        return str(jax.make_jaxpr(estimate)(parameters(2), KEY)).count(" = ")

    assert size(1000) == size(10)


@pytest.mark.slow
def test_turns_have_noise_of_their_own():
    def loss(logits, sample):
        return fsb.scan(
            lambda total, _, sample: (total + sample("b", SPIN, logits)[:, 0], None),
            sample, jnp.zeros(len(logits)), length=5,
        )[0]  # fmt: skip

    from fsb.sites import ancestral

    losses, (site,) = bind(loss, jnp.zeros((DRAWS, 1)))(ancestral(KEY))
    correlations = np.corrcoef(np.asarray(site.z)[:, :, 0].T)
    assert abs(correlations - np.eye(5)).max() < 4.5 / np.sqrt(DRAWS)
    assert np.var(losses) == pytest.approx(5, rel=0.12)
