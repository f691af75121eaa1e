"""Fourier rules, pathwise and score against closed forms, for every continuous family.

A row of a batch has a function h of a unit with known E h. Its loss is h(z_0) + h(z_1) + h(z_0)
h(z_1) / 2 of two units, or h(z) of one that is a vector; the gradient is that of the closed form.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import gammaln
from scipy import integrate, special, stats

import fsb
from fsb.estimators._tracing.taylor import derivatives

KEY = jax.random.key(1)
W = np.float32([0.7, -1.1, 0.4])  # of functions of a vector
EXACT, FIRST = fsb.fourier_exact(), fsb.fourier_exact(smooth=False)


class Family(NamedTuple):
    """``means``: by name, a function h and E h(z) as a function of the eta of a unit.

    terms: as many as the series needs to be exact for the functions named in ``series``.
    """

    dist: fsb.Distribution
    eta: tuple | list
    means: dict[str, tuple[Callable, Callable]]
    series: tuple[str, ...] = ()
    terms: int = 4
    vector: bool = False


def gamma_means(of=lambda *eta: eta):
    """Exponentials left and right of 0, and a cosine beyond the series' radius."""

    def mean(formula):
        return lambda *eta: formula(*of(*eta))

    def cosine(k, mu):
        return (1 + (2 * mu) ** 2) ** (-k / 2) * jnp.cos(k * jnp.arctan(2 * mu))

    return {
        "z": (lambda z: z, mean(lambda k, mu: k * mu)),
        "square": (
            lambda z: (z - 0.49) ** 2,
            mean(lambda k, mu: k * (k + 1) * mu**2 - 0.98 * k * mu + 0.49**2),
        ),
        "cube": (lambda z: z**3, mean(lambda k, mu: mu**3 * k * (k + 1) * (k + 2))),
        "exp": (lambda z: jnp.exp(-z), mean(lambda k, mu: (1 + mu) ** -k)),
        "cos": (lambda z: jnp.cos(2 * z), mean(cosine)),
    }


LAPLACE_MEANS = {
    "square": (lambda z: z**2, lambda m, b: m**2 + 2 * b**2),
    "fourth": (lambda z: z**4, lambda m, b: m**4 + 12 * m**2 * b**2 + 24 * b**4),
    "exp": (lambda z: jnp.exp(0.5 * z), lambda m, b: jnp.exp(0.5 * m) / (1 - b**2 / 4)),
    "cos": (lambda z: jnp.cos(6 * z), lambda m, b: jnp.cos(6 * m) / (1 + 36 * b**2)),
}
NORMAL_MEANS = {
    "cube": (lambda z: z**3, lambda m, s: m**3 + 3 * m * s**2),
    "sin": (lambda z: jnp.sin(2 * z), lambda m, s: jnp.sin(2 * m) * jnp.exp(-2 * s**2)),
}


def rising(x, n):
    return jnp.exp(gammaln(x + n) - gammaln(x))


def beta_mean(p, q):
    """z^p (1 - z)^q."""
    return (
        lambda z: z**p * (1 - z) ** q,
        lambda a, b: rising(a, p) * rising(b, q) / rising(a + b, p + q),
    )


def shares_mean(*powers):
    def h(z):
        return jnp.prod(z ** np.float32(powers).reshape((1,) * (z.ndim - 1) + (-1,)), -1)

    def mean(a):
        return jnp.prod(rising(a, np.float32(powers))) / rising(a.sum(), sum(powers))

    return h, mean


def covariance(factor):
    return jnp.tril(factor) @ jnp.tril(factor).T


def weighed(z):
    return z @ W


POISSON_MEANS = {
    "z": (lambda z: z, lambda eta: jnp.exp(eta)),
    "square": (lambda z: z**2, lambda e: jnp.exp(e) + jnp.exp(2 * e)),
    "cube": (lambda z: z**3, lambda e: jnp.exp(e) + 3 * jnp.exp(2 * e) + jnp.exp(3 * e)),
    "exp": (lambda z: jnp.exp(-0.7 * z), lambda e: jnp.exp(jnp.exp(e) * (np.exp(-0.7) - 1))),
}
FAMILIES = {
    "gamma": Family(
        fsb.Gamma(), ([0.7, 2.3], [0.6, 0.3]), gamma_means(), ("z", "square", "cube"), 3
    ),
    "exponential": Family(
        fsb.Exponential(), [0.6, 0.3], gamma_means(lambda mu: (1.0, mu)), ("z", "square"), 2
    ),
    "erlang": Family(
        fsb.Erlang(3), [0.6, 0.3], gamma_means(lambda mu: (3.0, mu)), ("z", "square"), 2
    ),
    "chi_squared": Family(
        fsb.ChiSquared(), [0.8, 2.6], gamma_means(lambda df: (df / 2, 2.0)), ("z", "square"), 2
    ),
    "laplace": Family(
        fsb.Laplace(), ([1.0, -0.8], [0.3, 0.2]), LAPLACE_MEANS, ("square", "fourth"), 2
    ),
    "normal": Family(fsb.Normal(), ([0.4, -0.2], [0.6, 0.3]), NORMAL_MEANS, ("cube", "sin"), 1),
    "beta": Family(
        fsb.Beta(),
        ([0.7, 3.0], [0.5, 2.0]),
        {"z": beta_mean(1, 0), "square": beta_mean(2, 0), "mixed": beta_mean(1, 2)},
    ),
    "poisson": Family(fsb.Poisson(), [-0.3, 0.6], POISSON_MEANS, ("z", "cube"), 3),
    "dirichlet": Family(
        fsb.Dirichlet(),
        [[0.4, 0.3, 0.8]],
        {
            "z": shares_mean(1, 0, 0),
            "square": shares_mean(0, 2, 0),
            "product": shares_mean(1, 0, 1),
            "three": shares_mean(1, 1, 1),
        },
        vector=True,
    ),
    "multivariate_normal": Family(
        fsb.MultivariateNormal(),
        ([[0.3, -0.2, 0.5]], [[[0.7, 9, 9], [0.3, 0.5, 9], [-0.2, 0.4, 0.6]]]),
        {
            "sin": (
                lambda z: jnp.sin(weighed(z)),
                lambda m, c: jnp.sin(m @ W) * jnp.exp(-0.5 * W @ covariance(c) @ W),
            ),
            "square": (
                lambda z: z[..., 0] * z[..., 2] + weighed(z) ** 2,
                lambda m, c: (
                    m[0] * m[2] + covariance(c)[0, 2] + (m @ W) ** 2 + W @ covariance(c) @ W
                ),
            ),
        },
        ("sin", "square"),
        1,
        vector=True,
    ),
    "dirac": Family(fsb.Dirac(), [0.3, -0.8], {"sin": (jnp.sin, jnp.sin)}, ("sin",), 1),
}


def estimates(family, names, estimator, number):
    """One draw a row of the batch: gradients by eta, each [number, names, units...]."""
    eta = jax.tree.map(jnp.float32, family.eta, is_leaf=lambda x: isinstance(x, list))
    batch = len(names) * number
    rows = jax.tree.map(lambda x: jnp.broadcast_to(x[None], (batch, *x.shape)), eta)

    def loss(eta, sample):
        z = sample("z", family.dist, eta)
        z = z.reshape(number, len(names), *z.shape[1:])
        each = []
        for i, name in enumerate(names):
            h = family.means[name][0](z[:, i])
            each.append(h[:, 0] if family.vector else h.sum(-1) + 0.5 * h[:, 0] * h[:, 1])
        return jnp.stack(each, 1).reshape(batch)

    _, grads = jax.jit(fsb.value_and_grad(estimator, loss))(rows, KEY)
    shape = (number, len(names))
    return [
        batch * np.asarray(g, np.float64).reshape(*shape, *g.shape[1:])
        for g in jax.tree.leaves(grads)
    ]


def closed_forms(family, names):
    eta = jax.tree.map(jnp.float32, family.eta, is_leaf=lambda x: isinstance(x, list))

    def value(eta, mean):
        units = jax.tree.leaves(eta)
        first = mean(*(x[0] for x in units))
        if family.vector:
            return first
        second = mean(*(x[1] for x in units))
        return first + second + 0.5 * first * second

    rows = [jax.tree.leaves(jax.grad(value)(eta, family.means[name][1])) for name in names]
    return [np.stack(column).astype(np.float64) for column in zip(*rows, strict=True)]


def closed(name, estimator, number, tolerance, names=None):
    family, number = FAMILIES[name], number * TIMES.get(name, 1)
    names = names or tuple(family.means)
    check(estimates(family, names, estimator, number), closed_forms(family, names), tolerance)


def check(draws, expected, tolerance):
    """Each number within 4.5 standard errors, each row's size too: a row's to the tolerance."""
    for got, true in zip(draws, expected, strict=True):
        error = got.std(0) / np.sqrt(len(got))
        assert np.isfinite(got).all()
        assert (np.abs(got.mean(0) - true) < 4.5 * error + 1e-5 + 1e-4 * np.abs(true)).all()
        axes = tuple(range(1, true.ndim))
        size = (true**2).sum(axes)
        along = (got * true).sum(tuple(a + 1 for a in axes)) / np.where(size > 0, size, 1)
        seen = along[:, size > 0]
        spread = seen.std(0) / np.sqrt(len(seen))
        assert (np.abs(seen.mean(0) - 1) < 4.5 * spread + 1e-4).all()
        assert 4 * spread.min() < tolerance


FAST, MANY = 2**13, 2**16
TIMES = {"laplace": 4, "normal": 4, "multivariate_normal": 4}  # as many draws as of others
BY_FIRST = ("laplace", "normal", "multivariate_normal")


SLOW = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("multivariate_normal", "poisson", "dirichlet")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gamma", "laplace", "normal", "dirac", *SLOW])
def test_exact_rules(name):
    closed(name, EXACT, FAST, 0.07)


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_FIRST)
def test_scales_by_first_derivatives(name):
    closed(name, FIRST, FAST, 0.07)


SERIES = [name for name, family in FAMILIES.items() if family.series]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["gamma", "laplace", pytest.param("poisson", marks=pytest.mark.slow)]
)
def test_series(name):
    family = FAMILIES[name]
    number = FAST if name != "poisson" else 4 * FAST
    closed(name, fsb.fourier_series(family.terms), number, 0.07, family.series)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["gamma", "laplace", "multivariate_normal", "dirichlet", "poisson"]
)
def test_exact_rules_to_one_percent(name):
    closed(name, EXACT, 2 * MANY if name == "laplace" else MANY, 0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gamma", "laplace"])
def test_series_to_one_percent(name):
    family = FAMILIES[name]
    number = 2 * MANY if name == "laplace" else MANY
    closed(name, fsb.fourier_series(family.terms), number, 0.01, family.series)


@pytest.mark.slow
def test_exact_rule_of_beta():
    closed("beta", EXACT, FAST, 0.07)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exponential", "erlang", "chi_squared", "normal", "dirac"])
def test_series_of_other_families(name):
    family = FAMILIES[name]
    closed(name, fsb.fourier_series(family.terms), FAST, 0.07, family.series)


@pytest.mark.slow
def test_weak_reparameterization():
    closed("gamma", fsb.weak_reparameterization(), FAST, 0.07)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gamma", "laplace", "multivariate_normal"])
@pytest.mark.parametrize("estimator", [fsb.pathwise(), fsb.reinforce()], ids=["path", "score"])
def test_older_estimators(name, estimator):
    closed(name, estimator, FAST, 0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    "degree", [pytest.param(d, marks=() if d == 3 else pytest.mark.slow) for d in (1, 2, 3)]
)
def test_fini_is_exact_for_its_polynomials(degree):
    closed("poisson", fsb.fini(degree), FAST, 0.07, ("z", "square", "cube")[:degree])


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_eat_has_the_moments_of_campbells_theorem(temperature):
    """Mean, variance and derivatives of both, at rates from 0 to 40; the draws are counts."""
    eta, draws = jnp.array([[-jnp.inf, -1.0, 0.7, 3.7]]), 40_000
    rate = np.exp(np.asarray(eta, np.float64))
    estimator = fsb.eat(temperature)
    many = jnp.broadcast_to(eta, (draws, 4))
    keys = fsb.Poisson().noise(jax.random.key(3), many)
    (z, hard), pull = jax.vjp(lambda x: estimator.rule.draw(keys, x, fsb.Poisson()), many)
    slope = pull((jnp.ones_like(z), jnp.zeros_like(hard)))[0]
    variance = rate * (1 - 9 * temperature / 35)
    expected = {
        "mean": (z, rate),
        "square": (z**2, variance + rate**2),
        "count": (hard, rate),
        "squared count": (hard**2, rate + rate**2),
        "slope": (slope, rate),
        "slope of the square": (2 * z * slope, variance + 2 * rate**2),
    }
    for name, (found, mean) in expected.items():
        found = np.asarray(found, np.float64)
        error = found.std(0) / np.sqrt(draws)
        assert (np.abs(found.mean(0) - mean) <= 4.5 * error + 1e-5 * mean).all(), name
    assert (hard == jnp.round(hard)).all()


EXACT_AND_SERIES = pytest.mark.parametrize(
    "make", [partial(fsb.fourier_exact, False), fsb.fourier_series], ids=["exact", "series"]
)


@pytest.mark.slow
@EXACT_AND_SERIES
def test_separable_losses_need_one_pass(make):
    """The same noise, and so the same numbers."""
    dist, eta = fsb.Laplace(), jnp.float32(FAMILIES["laplace"].eta)[:, None]
    one_pass(dist, tuple(eta), make, lambda z: (jnp.sin(z) * jnp.float32([[1, 2]])).sum(-1))


@pytest.mark.slow
@pytest.mark.parametrize("make", [fsb.fourier_exact])
def test_separable_losses_of_vectors(make):
    eta = jnp.float32([[[5, 4, 3], [3, 2, 6]]])
    product = lambda z: jnp.prod(z @ jnp.ones((3, 1)) + z, -1).sum(1)
    one_pass(fsb.Dirichlet(), eta, make, product)
    eta = jnp.ones((1, 2, 2)), jnp.float32([[[[1, 0], [2, 1]], [[3, 0], [1, 2]]]])
    cube = lambda z: ((z @ jnp.float32([1, 2])) ** 3).sum(-1)
    one_pass(fsb.MultivariateNormal(), eta, fsb.fourier_exact, cube)


def one_pass(dist, eta, make, f):
    loss = lambda eta, sample: f(sample("z", dist, eta))
    one = jax.jit(fsb.value_and_grad(make(separable=True), loss))(eta, KEY)
    all_ = jax.jit(fsb.value_and_grad(make(side=1), loss))(eta, KEY)
    for a, b in zip(*map(jax.tree.leaves, (one, all_)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


LOGISTIC = {0.05: 1.0, 0.6: 3.0, 1.0: 1.0}  # b c -> c


def gradients(estimator, dist, eta, f, number):
    """One draw a row, [number] by each parameter."""
    rows = jax.tree.map(lambda x: jnp.full((number, 1), x, jnp.float32), eta)
    loss = lambda eta, sample: f(sample("z", dist, eta)[:, 0])
    _, grads = jax.jit(fsb.value_and_grad(estimator, loss))(rows, KEY)
    return [number * np.asarray(g[:, 0], np.float64) for g in jax.tree.leaves(grads)]


@pytest.mark.slow
def test_the_series_diverges_where_the_exact_rule_does_not():
    """f = e^-z at mu = 1.5, and cos(3 z) at b = 0.6."""
    k, mu, n = 2.3, 1.5, np.arange(1, 33)
    true = (1 + mu) ** -k
    series = fsb.fourier_series(32, check=False)
    by_shape, by_scale = gradients(series, fsb.Gamma(), (k, mu), lambda z: jnp.exp(-z), 2**15)
    assert by_shape.mean() == pytest.approx(true * ((-mu) ** n / n).sum(), rel=0.02)
    assert by_scale.mean() == pytest.approx(true * k / mu * ((-mu) ** n).sum(), rel=0.02)
    assert by_shape.mean() > 900  # the gradient is -0.11
    assert by_scale.mean() > 45000

    m, b = 0.4, 0.6
    true = np.cos(3 * m) / (1 + 9 * b**2)
    series = fsb.fourier_series(8, check=False)
    _, by_scale = gradients(series, fsb.Laplace(), (m, b), lambda z: jnp.cos(3 * z), 2**15)
    terms = (-9 * b**2) ** np.arange(1, 9)
    spread = by_scale.std() / np.sqrt(len(by_scale))
    assert by_scale.mean() == pytest.approx(2 / b * true * terms.sum(), abs=5 * spread)
    assert by_scale.mean() > 2000  # the gradient is -0.22


def logistic_truth(c, b, m=0.3):
    """d/db of E log sigmoid(c z), z of Laplace(m, b), by quadrature of the score."""

    def integrand(t):
        return np.exp(-np.abs(t)) / (2 * b) * (np.abs(t) - 1) * special.log_expit(c * (m + b * t))

    return integrate.quad(integrand, -40, 0)[0] + integrate.quad(integrand, 0, 40)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bc", "order", "wrong_by", "warned"),
    [
        pytest.param(0.05, 1, 0.003, False, marks=pytest.mark.slow),
        (0.6, 1, 0.05, True),
        pytest.param(1.0, 4, 0.3, True, marks=pytest.mark.slow),
    ],
)
def test_logistic_losses_are_an_asymptotic_case(bc, order, wrong_by, warned):
    """Within its radius of trust the series is close; beyond it is far off, and says so."""
    c = LOGISTIC[bc]
    true = logistic_truth(c, bc / c)
    f = lambda z: jax.nn.log_sigmoid(c * z)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, found = gradients(fsb.fourier_series(order), fsb.Laplace(), (0.3, bc / c), f, 2**16)
        jax.effects_barrier()
    assert any("first omitted term" in str(w.message) for w in caught) == warned
    error = abs(found.mean() - true) / abs(true)
    spread = found.std() / np.sqrt(len(found)) / abs(true)
    assert error < wrong_by + 4 * spread if not warned else error > wrong_by - 4 * spread
    _, found = gradients(EXACT, fsb.Laplace(), (0.3, bc / c), f, 2**16)
    spread = found.std() / np.sqrt(len(found)) / abs(true)
    assert abs(found.mean() / true - 1) < 4 * spread < 0.03


@pytest.mark.slow
def test_the_series_of_shares():
    """E of term n for f = z is known, and infinite once n reaches alpha + beta."""
    a, b = 4.0, 6.0
    total = a + b
    n = np.arange(1, 4)
    terms = (-1.0) ** (n - 1) * special.gamma(n) * b / total
    terms *= special.gamma(total - n) / special.gamma(total)
    series = fsb.fourier_series(3, check=False)
    found = gradients(series, fsb.Beta(), (a, b), lambda z: z, 2**13)
    spread = found[0].std() / np.sqrt(2**13)
    assert found[0].mean() == pytest.approx(terms.sum(), abs=4 * spread)
    assert 4 * spread < 0.02 * terms[0]
    assert found[0].mean() == pytest.approx(b / total**2, rel=0.05)
    assert found[1].mean() == pytest.approx(-a / total**2, rel=0.1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = gradients(fsb.fourier_series(1), fsb.Beta(), (0.5, 0.4), lambda z: z, 4)
        jax.effects_barrier()
    assert np.isnan(found).all()
    assert any("a term is infinite" in str(w.message) for w in caught)
    assert np.isfinite(gradients(EXACT, fsb.Beta(), (0.5, 0.4), lambda z: z, 4)).all()


@pytest.mark.slow
def test_derivatives_of_high_order():
    """Nested ones and Taylor series, and both against closed forms."""
    z, way = jnp.float32([0.3, -1.2]), jnp.float32([1, -2])
    f = lambda z: jax.nn.log_sigmoid(3 * z) + jnp.tanh(z @ jnp.ones((2, 2)) + z)
    low, high = jax.jit(lambda z: [derivatives(f, z, way, order) for order in (4, 5)])(z)
    np.testing.assert_allclose(low, high[:4], rtol=1e-4, atol=1e-4)
    n = np.arange(1, 7)[:, None]
    slope = (-1.0) ** n * special.factorial(n) / (3 + np.asarray(z)) ** (n + 1)
    found = jax.jit(lambda z: derivatives(lambda z: 1 / (3 + z), z, way, 6))(z)
    np.testing.assert_allclose(found, slope * np.asarray(way) ** n, rtol=1e-5)


def network(params, sample):
    """A Boolean unit over a gamma one, over a normal and a Boolean one."""
    top = sample("top", fsb.Bernoulli(), params["top"])
    z = sample("z", fsb.Gamma(), (params["shape"], params["scale"] * (1 + top)))
    x = sample("x", fsb.Normal(), (jnp.sin(z), 0.5 + 0.1 * z))
    bit = sample("bit", fsb.Bernoulli(), 1.5 * z - 1)
    return (z * bit + x**2 * (1 + bit) - top * x)[:, 0]


NETWORK = {"top": 0.4, "shape": 1.7, "scale": 0.5}


def network_gradient():
    """By quadrature over z, enumeration of the bits and the moments of x."""

    def value(top_logit, k, mu):
        p, total = special.expit(top_logit), 0.0
        for top, weight in ((0, 1 - p), (1, p)):

            def integrand(z, top=top):
                q, m, s = special.expit(1.5 * z - 1), np.sin(z), 0.5 + 0.1 * z
                inner = z * q + (m * m + s * s) * (1 + q) - top * m
                return inner * stats.gamma.pdf(z, k, scale=mu * (1 + top))

            total += weight * integrate.quad(integrand, 0, 40, limit=200)[0]
        return total

    at, step = np.array(list(NETWORK.values())), 1e-4
    return [(value(*(at + step * e)) - value(*(at - step * e))) / (2 * step) for e in np.eye(3)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator", [pytest.param(EXACT, marks=pytest.mark.slow), FIRST], ids=["smooth", "first"]
)
def test_beside_discrete_sites(estimator):
    """Above, below, and mixed in one model with local expectation: the true gradient."""
    mixed = fsb.per_site({"top": LOCAL, "z": estimator, "x": estimator, "bit": LOCAL})
    number = 2**15
    params = {name: jnp.full((number, 1), x) for name, x in NETWORK.items()}
    _, grads = jax.jit(fsb.value_and_grad(mixed, network))(params, KEY)
    for (name, g), true in zip(
        ((name, grads[name]) for name in NETWORK), network_gradient(), strict=True
    ):
        g = number * np.asarray(g, np.float64)
        spread = g.std() / np.sqrt(number)
        assert g.mean() == pytest.approx(true, abs=4 * spread), name
        assert 4 * spread < 0.09 * abs(true), name


LOCAL = fsb.local_expectation()


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator", [fsb.fourier_series(3, check=False), EXACT], ids=["series", "exact"]
)
def test_two_layers_of_gammas(estimator):
    """y of scale z^2: E[y z] = 2 mu^3 k (k + 1) (k + 2), a third power of z."""
    k, mu, number = 1.4, 0.6, 2**14

    def loss(eta, sample):
        z = sample("z", fsb.Gamma(), eta)
        return (z * sample("y", fsb.Erlang(2), z**2))[:, 0]

    eta = jnp.full((number, 1), k), jnp.full((number, 1), mu)
    _, grads = jax.jit(fsb.value_and_grad(estimator, loss))(eta, KEY)
    value = 2 * mu**3 * k * (k + 1) * (k + 2)
    expected = value * sum(1 / (k + i) for i in range(3)), 3 * value / mu
    for g, true in zip(grads, expected, strict=True):
        g = number * np.asarray(g, np.float64)
        assert g.mean() == pytest.approx(true, abs=4.5 * g.std() / np.sqrt(number))


SMALL = np.float32([[0.01, 0.01, 0.02]])


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [fsb.pathwise(), EXACT], ids=["path", "exact"])
def test_small_concentrations(estimator):
    """Nearly all draws are corners, and their gammas underflow."""
    number = 2**14
    a, total = SMALL[0].astype(float), SMALL.sum().astype(float)
    rows = jnp.broadcast_to(jnp.asarray(SMALL)[None], (number, 1, 3))
    weights = jnp.float32([1, 2, -1])
    loss = lambda eta, sample: (sample("z", fsb.Dirichlet(), eta) @ weights)[:, 0]
    _, g = jax.jit(fsb.value_and_grad(estimator, loss))(rows, KEY)
    g = number * np.asarray(g[:, 0], np.float64)
    w = np.asarray(weights, float)
    true = (w - (a * w).sum() / total) / total
    assert np.isfinite(g).all()
    assert (np.abs(g.mean(0) - true) < 4.5 * g.std(0) / np.sqrt(number)).all()
    assert (4.5 * g.std(0) / np.sqrt(number) < 0.3 * np.abs(true).max()).all()


@pytest.mark.slow
def test_extremes():
    etas = {
        fsb.Gamma(): (jnp.float32([[0.01, 1e4]]), jnp.float32([[1e-3, 10]])),
        fsb.Laplace(): (jnp.float32([[0, 50]]), jnp.float32([[1e-4, 10]])),
        fsb.Poisson(): jnp.float32([[-20, 4]]),
    }
    params = {str(dist): eta for dist, eta in etas.items()}

    def loss(params, sample):
        return sum(jnp.tanh(sample(str(d), d, params[str(d)])).sum(-1) for d in etas)

    _, grads = jax.jit(fsb.value_and_grad(EXACT, loss))(params, KEY)
    alone = lambda eta, sample: jnp.tanh(sample("z", fsb.Gamma(), eta)).sum(-1)
    weak = fsb.value_and_grad(fsb.weak_reparameterization(), alone)
    _, other = jax.jit(weak)(params[str(fsb.Gamma())], KEY)
    for g in jax.tree.leaves((grads, other)):
        assert np.isfinite(g).all()


RELU = {
    "relu": jax.nn.relu,
    "max": lambda z: jnp.maximum(z, 0.1),
    "leaky_relu": jax.nn.leaky_relu,
    "abs": lambda z: jnp.clip(z, -1, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RELU)
def test_kinks_are_refused(name):
    eta = jnp.ones((2, 3)), jnp.ones((2, 3))
    loss = lambda eta, sample: jnp.tanh(RELU[name](sample("z", fsb.Laplace(), eta))).sum(-1)
    for estimator in (fsb.fourier_series(), EXACT):
        with pytest.raises(fsb.FsbError, match=r"'z': .*fourier_exact\(smooth=False\)"):
            jax.eval_shape(fsb.value_and_grad(estimator, loss), eta, KEY)
    jax.eval_shape(fsb.value_and_grad(FIRST, loss), eta, KEY)


@pytest.mark.slow
@pytest.mark.parametrize("f", [jax.nn.softplus, jax.nn.log_sigmoid, jax.nn.silu, "fsb"])
def test_smooth_losses_are_not_refused(f):
    f = fsb.distributions.bernoulli.softplus if f == "fsb" else f
    eta = jnp.ones((2, 3)), jnp.ones((2, 3))
    loss = lambda eta, sample: f(sample("z", fsb.Laplace(), eta)).sum(-1)
    _, gradients = jax.eval_shape(fsb.value_and_grad(fsb.fourier_series(), loss), eta, KEY)
    assert [g.shape for g in gradients] == [(2, 3), (2, 3)]


@pytest.mark.slow
def test_mistakes_are_told():
    for make, message in (
        (lambda: fsb.fourier_series(0), "fourier_series: order=0"),
        (lambda: fsb.fourier_exact(side=0), "fourier_exact: side=0"),
        (lambda: fsb.eat(1.5), r"eat: temperature=1.5: it must be in \(0, 1\]"),
        (lambda: fsb.fini(4), "fini: degree=4: it must be 1, 2 or 3"),
        (lambda: fsb.Erlang(0), r"Erlang\(shape=0\)"),
    ):
        with pytest.raises(fsb.FsbError, match=message):
            make()
    eta = jnp.ones((1, 1)), jnp.ones((1, 1))
    lgamma = lambda eta, sample: gammaln(sample("z", fsb.Gamma(), eta)).sum(-1)
    with pytest.raises(fsb.FsbError, match="no derivative of order 6 is known of lgamma"):
        jax.eval_shape(fsb.value_and_grad(fsb.fourier_series(5), lgamma), eta, KEY)
    dirac = lambda eta, sample: sample("z", fsb.Dirac(), eta).sum(-1)
    with pytest.raises(fsb.FsbError, match="no density"):
        jax.eval_shape(fsb.value_and_grad(fsb.reinforce(), dirac), eta[0], KEY)
