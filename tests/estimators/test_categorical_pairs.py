"""DisARM along trees, and CARMS, against NumPy: bit by bit, pair by pair, draw by draw."""

from __future__ import annotations

import functools
import itertools

import categorical_oracle as c
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb
from fsb.estimators.arms import debias
from fsb.estimators.carms import coupled_places, of_pairs, ratios
from fsb.estimators.disarm_tree import balanced, partner, stick, stick_logits
from fsb.sites import ancestral, bind

KEY = jax.random.key(3)
NUMBER = 2**13
ETA = {2: [0.4, -0.9], 5: [0.3, -1.0, 1.4, 0.2, -0.4]}
SHAPES = {  # nested pairs: the sides of each decision
    ("balanced", 2): (0, 1),
    ("balanced", 5): (((0, 1), (2, 3)), 4),
    ("stick", 2): (0, 1),
    ("stick", 5): (0, (1, (2, (3, 4)))),
}
TREES = {"balanced": balanced, "stick": stick}


def leaves(tree):
    return [tree] if isinstance(tree, int) else leaves(tree[0]) + leaves(tree[1])


def decisions(tree):
    return [] if isinstance(tree, int) else [tree, *decisions(tree[0]), *decisions(tree[1])]


def walk(tree, bits):
    """The value that the bits lead to; a high one takes the first side."""
    while not isinstance(tree, int):
        tree = tree[0] if bits[tree] else tree[1]
    return tree


@functools.cache
def bit_by_bit(tree, k):
    """P(z, z') [K, K], DisARM for all the bits over f(z) - f(z') on average given the pair
    [K, K, K], and the second moment of its norm [K, K]."""
    p = c.softmax(np.array(ETA[k]))

    def within(part):
        return p * np.isin(np.arange(k), leaves(part)) / p[leaves(part)].sum()

    probability, mean, square = np.zeros((k, k)), np.zeros((k, k, k)), np.zeros((k, k))
    nodes = decisions(tree)
    cells, slopes, highs = [], [], []
    for node in nodes:
        high = p[leaves(node[0])].sum() / p[leaves(node)].sum()
        cut, differ = 1 - 2 * min(high, 1 - high), min(high, 1 - high)
        cells.append({(1, 0): differ, (0, 1): differ, (int(high > 0.5),) * 2: cut})
        slopes.append(within(node[0]) - within(node[1]))
        highs.append(max(high, 1 - high))
    for pair in itertools.product(*cells):
        weight = np.prod([cell[bits] for cell, bits in zip(cells, pair, strict=True)])
        z, other = (walk(tree, dict(zip(nodes, b, strict=True))) for b in zip(*pair, strict=True))
        terms = zip(pair, highs, slopes, strict=True)
        g = sum(0.5 * (b - b_other) * high * slope for (b, b_other), high, slope in terms)
        probability[z, other] += weight
        mean[z, other] += weight * g
        square[z, other] += weight * (g @ g)
    seen = np.maximum(probability, 1e-300)
    return probability, mean / seen[..., None], square / seen


def assert_frequencies(x, y, probability):
    count = np.zeros_like(probability)
    np.add.at(count, (x, y), 1)
    error = np.sqrt(probability * (1 - probability) / len(x))
    assert (np.abs(count / len(x) - probability) <= 5 * error).all()


def table_loss(table):
    """One unit, whose loss is looked up."""
    return lambda eta, sample: sample("c", fsb.Categorical(), eta)[:, 0] @ jnp.float32(table)


def sampled_site(eta, number=NUMBER):
    tiled = jnp.broadcast_to(jnp.float32(eta), (number, 1, len(eta)))
    return bind(table_loss(np.zeros(len(eta))), tiled)(ancestral(KEY))[1][0]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "k"), SHAPES)
def test_a_pair_is_drawn_and_weighed_as_by_bits(name, k):
    """So the estimate is the mean of DisARM for the bits, given the pair."""
    probability, mean, _ = bit_by_bit(SHAPES[name, k], k)
    site = sampled_site(ETA[k])
    other, weight = jax.jit(functools.partial(partner, tree=TREES[name]))(site, KEY)
    x, y = (np.asarray(v[:, 0]).argmax(-1) for v in (site.z, other))
    assert_frequencies(x, y, probability)
    np.testing.assert_allclose(weight[:, 0], -mean[x, y], atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_disarm_for_bits_is_unbiased_and_its_mean_given_the_pair_has_less_variance(shape):
    k = shape[1]
    probability, mean, square = bit_by_bit(SHAPES[shape], k)
    p, f = c.softmax(np.array(ETA[k])), np.random.default_rng(0).normal(size=k)
    change = f[:, None] - f[None]
    np.testing.assert_allclose(probability.sum(0), p)
    np.testing.assert_allclose(probability.sum(1), p)
    np.testing.assert_allclose(
        np.einsum("xy,xy,xyk->k", probability, change, mean), p * (f - p @ f), atol=1e-12
    )
    moments = [(probability * change**2 * s).sum() for s in ((mean**2).sum(-1), square)]
    assert moments[0] < 0.99 * moments[1] if k > 2 else moments[0] == pytest.approx(moments[1])


def joint(p, n):
    """P(x, y) of two of n samples, in the order of p, and p / the rest of the stick."""
    part = p / p[::-1].cumsum()[::-1]
    both = np.maximum(2 * part ** (1 / (n - 1)) - 1, 0) ** (n - 1)
    table = np.zeros((len(p), len(p)))
    for x, y in itertools.combinations(range(len(p)), 2):
        before = np.prod((1 - 2 * part + both)[:x])
        between = np.prod((1 - part)[x + 1 : y])
        table[x, y] = table[y, x] = before * (part - both)[x] * between * part[y]
    return table + np.diag(np.maximum(p - table.sum(1), 0))  # may round below 0


@pytest.mark.slow
@pytest.mark.parametrize("samples", [2, 4])
def test_coupled_values_and_their_ratios(samples):
    eta = np.array(ETA[5])
    order = eta.argsort()
    p = c.softmax(eta)[order]
    table = joint(p, samples)
    site = sampled_site(eta)
    logits = stick_logits(jnp.float32(eta[order]))
    tiled = jnp.broadcast_to(logits, site.eta.shape)
    places = jax.jit(coupled_places, static_argnames="samples")(
        site, jnp.broadcast_to(jnp.array(order), site.eta.shape), tiled, KEY, samples=samples
    )
    for a, b in itertools.combinations(np.asarray(places)[..., 0], 2):
        assert_frequencies(a, b, table)
    grid = jnp.array(np.indices((5, 5)).reshape(2, 25))
    r = of_pairs(jnp.broadcast_to(ratios(logits, samples), (25, 5)), grid)[0, 1].reshape(5, 5)
    others = 1 - np.eye(5)
    np.testing.assert_allclose(r, others * np.outer(p, p) / (others * table + np.eye(5)), rtol=1e-5)


@pytest.mark.slow
def test_ratios_stay_between_one_half_and_two():
    """At equal values, where they are largest, and at random ones; of two values as in ARMS."""
    rng = np.random.default_rng(0)
    etas = np.sort([np.zeros(40), rng.normal(size=40), 9 * rng.normal(size=40)])
    logits, difference = stick_logits(jnp.float32(etas)), jnp.float32([-20.0, -1.3, -0.2, 0.0])
    for samples in (2, 3, 20):
        r = np.asarray(ratios(logits, samples))[:, :-1]
        assert ((r >= 0.5 - 1e-6) & (r < 2)).all()
        two = ratios(jnp.stack([difference, jnp.full(4, jnp.inf)], -1), samples)
        np.testing.assert_array_equal(two[:, 0], debias(difference, samples))
        if samples == 2:
            np.testing.assert_allclose(r[0, -1], 0.5 * 2 * 39 / 40, rtol=1e-4)


@pytest.mark.slow
def test_carms_draw_by_draw():
    """Two units, with a loss of both, for examples that all examples share: [1, 2, 3]."""
    table = np.random.default_rng(2).normal(size=(3, 3))
    scale, samples = np.arange(1.0, 5.0), 3

    def loss(eta, sample):
        z = sample("c", fsb.Categorical(), eta)
        return jnp.float32(scale) * jnp.einsum("bi,ij,bj->b", z[:, 0], jnp.float32(table), z[:, 1])

    eta = jnp.float32([[[0.3, -1.0, 1.4], [0.0, 0.5, -0.4]]])
    order = eta.argsort(-1)
    logits = stick_logits(jnp.take_along_axis(eta, order, -1))
    estimate = jax.jit(fsb.value_and_grad(fsb.carms(samples), loss))
    draw = jax.jit(lambda key: bind(loss, eta)(ancestral(key))[1][0])
    p = [c.softmax(np.asarray(e, float)) for e in eta[0]]
    for key in jax.random.split(KEY, 8):
        places = np.asarray(coupled_places(draw(key), order, logits, key, samples))[:, 0]
        z = np.stack([np.asarray(order)[0, unit][places[:, unit]] for unit in range(2)], -1)
        f, expected = table[z[:, 0], z[:, 1]], np.zeros((2, 3))
        for unit, (i, j) in itertools.product(range(2), itertools.combinations(range(samples), 2)):
            rank = np.asarray(order)[0, unit]
            a, b = places[i, unit], places[j, unit]
            if a != b:
                sorted_p = p[unit][rank]
                r = sorted_p[a] * sorted_p[b] / joint(sorted_p, samples)[a, b]
                step = np.eye(3)[z[i, unit]] - np.eye(3)[z[j, unit]]
                expected[unit] += (f[i] - f[j]) * step * r / (samples * (samples - 1))
        value, grad = estimate(eta, key)
        np.testing.assert_allclose(value, scale.mean() * f[0], rtol=1e-5)
        np.testing.assert_allclose(grad[0], scale.mean() * expected, atol=1e-5)


PAIRED = {
    "disarm_tree": (fsb.disarm_tree(), fsb.disarm()),
    "disarm_sb": (fsb.disarm_sb(), fsb.disarm()),
    "carms": (fsb.carms(4), fsb.arms(4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRED)
def test_of_a_boolean_site_and_of_one_value(name):
    def loss(params, sample):
        certain = sample("one", fsb.Categorical(), params["one"])
        z = sample("b", fsb.Bernoulli(-1.0, 1.0), params["eta"])
        return (2 + z.sum(-1)) ** 2 * certain.sum((1, 2))

    def boolean(params, sample):
        return (2 + sample("b", fsb.Bernoulli(-1.0, 1.0), params["eta"]).sum(-1)) ** 2

    params = {"eta": jnp.linspace(-3, 3, 32).reshape(16, 2), "one": jnp.ones((16, 1, 1))}
    estimator, of_bits = PAIRED[name]
    found = jax.jit(fsb.value_and_grad(estimator, loss))(params, KEY)[1]
    expected = jax.jit(fsb.value_and_grad(of_bits, boolean))(params, KEY)[1]
    np.testing.assert_allclose(found["eta"], expected["eta"], rtol=1e-6)
    np.testing.assert_array_equal(found["one"], 0)


@pytest.mark.slow
@pytest.mark.parametrize("make", [fsb.disarm_tree, fsb.carms])
def test_logits_in_half_precision(make):
    """The pair is that of the same logits in float32."""
    estimate = jax.jit(fsb.value_and_grad(make(), table_loss([0.5, 1.0, 0.0, -2.0, 4.0])))
    coarse = jnp.linspace(-3, 3, 320, dtype=jnp.bfloat16).reshape(64, 1, 5)
    half, whole = (estimate(eta, KEY)[1] for eta in (coarse, coarse.astype(jnp.float32)))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), whole, rtol=0.02, atol=1e-3)


def test_refusals():
    with pytest.raises(fsb.FsbError, match="carms: samples=1: it must be at least 2"):
        fsb.carms(1)
