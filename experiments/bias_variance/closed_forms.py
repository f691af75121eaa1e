"""What Fourier stochastic backpropagation says that needs no draw: eqs 16, 20, 24, 27, appendix A.

Series against closed forms, a divergence against quadrature, and Dirac sites against jax.grad.
"""

import jax
import jax.numpy as jnp
import numpy as np
from common import check, claim, column, figure, legend, main, style
from scipy.integrate import quad
from scipy.stats import laplace

import fsb

ORDERS = tuple(range(1, 41))
SHAPE, SCALES = 2.0, (0.5, 1.5)  # of the gamma distribution
FREQUENCIES = (0.5, 0.9, 1.2)  # b w, of the Laplace distribution
PAIR = (0.7, 0.4)  # location and scale beside L(0, 1)
FIRST, LAST = ORDERS[3], ORDERS[-1]


def gamma_cube(k, mu):
    """d E z^3 / d (k, mu) by eq. 20, which ends with the third term, and in closed form."""
    means = [3 * k * (k + 1) * mu**2, 6 * k * mu, 6.0]  # E of the derivatives of z^3
    by_series = (
        sum(mu**n / n * means[n - 1] for n in (1, 2, 3)),
        sum(k / mu * mu**n * means[n - 1] for n in (1, 2, 3)),
    )
    cube = mu**3 * k * (k + 1) * (k + 2)
    return by_series, (cube * (1 / k + 1 / (k + 1) + 1 / (k + 2)), 3 * cube / mu)


def gamma_decay(k, mu):
    """d E e^-z / dk over E e^-z: the partial sums of eq. 20, and -log(1 + mu)."""
    n = np.array(ORDERS)
    return np.cumsum((-mu) ** n / n), -np.log1p(mu)


def laplace_slope(bw):
    """b d log phi / db: the partial sums of 2 (-(b w)^2)^n, and the closed form."""
    n = np.array(ORDERS)
    return np.cumsum(2 * (-(bw**2)) ** n), -2 * bw**2 / (1 + bw**2)


def divergence(m, b):
    """KL(L(m, b) || L(0, 1)) by quadrature."""
    one, other = laplace(m, b), laplace(0, 1)
    integrand = lambda z: one.pdf(z) * (one.logpdf(z) - other.logpdf(z))
    return sum(quad(integrand, *ends, epsabs=1e-12)[0]
               for ends in ((-40, 0), (0, m), (m, 40)))  # fmt: skip


def network(weights, x, sample):
    """Two tanh layers, whose values are sites: the loss of a classical network."""
    for i, w in enumerate(weights):
        mean = jnp.tanh(x @ w)
        x = sample(f"z{i}", fsb.Normal(), (mean, jnp.zeros_like(mean)))
    return (x**2).sum(-1)


def dirac():
    """Largest difference between a network of Dirac sites and the same network without sites."""
    keys = jax.random.split(jax.random.key(0), 3)
    weights = [0.7 * jax.random.normal(key, (4, 4)) for key in keys[:2]]
    x = jax.random.normal(keys[2], (8, 4))
    loss = lambda weights, sample: network(weights, x, sample)
    value, grads = fsb.value_and_grad(fsb.pathwise(), loss)(weights, jax.random.key(1))
    plain = lambda weights: network(weights, x, lambda name, dist, eta: eta[0]).mean()
    expected, backpropagated = jax.value_and_grad(plain)(weights)
    off = [float(abs(a - b).max()) for a, b in zip(grads, backpropagated, strict=True)]
    return abs(float(value - expected)), max(off)


def measure():
    rows = []
    for mu in SCALES:
        sums, true = gamma_decay(SHAPE, mu)
        rows += [{"what": f"gamma {mu}", "order": n, "sum": s, "true": true}
                 for n, s in zip(ORDERS, sums, strict=True)]  # fmt: skip
    for bw in FREQUENCIES:
        sums, true = laplace_slope(bw)
        rows += [{"what": f"laplace {bw}", "order": n, "sum": s, "true": true}
                 for n, s in zip(ORDERS, sums, strict=True)]  # fmt: skip
    at = lambda what, order: next(
        row for row in rows if row["what"] == what and row["order"] == order
    )
    off = lambda what, order: abs(at(what, order)["sum"] - at(what, order)["true"])
    near, far = (f"gamma {mu}" for mu in SCALES)
    by_series, true_cube = gamma_cube(SHAPE, SCALES[1])
    cube = float(np.abs(np.subtract(by_series, true_cube)).max())
    inside, edge, outside = (f"laplace {bw}" for bw in FREQUENCIES)
    m, b = PAIR
    printed = m + b * np.exp(-m / b) - np.log(b) - 1
    exact = divergence(m, b)
    value, gradient = dirac()
    records = {
        "C eq 16": claim(
            "The rule for a Dirac distribution is classical backpropagation.",
            f"two tanh layers of four units, each a site of scale 0: largest difference from "
            f"jax.grad {gradient:.1g}", "0",
            [check("difference of gradients", gradient, "<", 1e-5)],
            note="A normal site of scale 0, differentiated along its path.",
        ),
        "C app A": claim(
            "With Dirac sites the bound is the log-likelihood of a classical network.",
            f"there: difference of the losses {value:.1g}", "0",
            [check("difference of losses", value, "<", 1e-5)],
            note="The divergence of two equal Diracs is put to 0, as in the paper.",
        ),
        "C eq 20": claim(
            "The rule for the gamma distribution.",
            f"z^3 at mu = {SCALES[1]}: off by {cube:.1g}; e^-z in k, {LAST} terms: at mu = "
            f"{SCALES[0]} {at(near, LAST)['sum']:.6f}, at mu = {SCALES[1]} "
            f"{at(far, LAST)['sum']:.4g}",
            f"0; {at(near, LAST)['true']:.6f}; {at(far, LAST)['true']:.4f}",
            [check("z^3", cube, "<", 1e-9), check(f"e^-z at mu = {SCALES[0]}", off(near, LAST),
             "<", 1e-6), check(f"e^-z at mu = {SCALES[1]}", off(far, LAST), "<", 1e-2)],
            [check("z^3", cube, "<", 1e-9), check(f"e^-z at mu = {SCALES[0]}", off(near, LAST),
             "<", 1e-6), check(f"e^-z at mu = {SCALES[1]} grows", off(far, LAST), ">", 1)],
            note="Exact for polynomials; for e^-z it converges for mu up to 1 only. The sum in "
            "closed form, as in the paper's second toy, has no radius.",
        ),
        "C eq 24": claim(
            "The series of the characteristic function may be cut off: what is left out "
            "contributes little.",
            f"b d log phi / db of a Laplace distribution, error after {FIRST} and {LAST} terms: "
            + ", ".join(f"b w = {bw} {off(f'laplace {bw}', FIRST):.2g} and "
                        f"{off(f'laplace {bw}', LAST):.2g}" for bw in FREQUENCIES),
            "falls with the number of terms",
            [check(f"b w = {bw}, later over earlier error",
                   off(f"laplace {bw}", LAST) / off(f"laplace {bw}", FIRST), "<", 1)
             for bw in FREQUENCIES],
            [check("b w < 1", max(off(w, LAST) / off(w, FIRST) for w in (inside, edge)), "<", 1),
             check("b w > 1", off(outside, LAST) / off(outside, FIRST), ">", 1)],
            note="Below the frequency 1 / b; above it every further term makes it worse.",
        ),
        "C eq 27": claim(
            "The divergence of two Laplace distributions.",
            f"L({m}, {b}) from L(0, 1): {printed:.6f}", f"{exact:.6f} by quadrature",
            [check("as printed", printed, "=", exact, 1e-6)],
            note="For b as the scale; eq. 19 takes it for the scale's square.",
        ),
    }  # fmt: skip
    return rows, records


def picture(rows):
    found, axes = figure(2)
    names = ([f"gamma {mu}" for mu in SCALES], [f"laplace {bw}" for bw in FREQUENCIES])
    titles = (r"$e^{-z}$, gamma, in k", "Laplace, in b, by frequency b w")
    for one, chosen, title in zip(axes, names, titles, strict=True):
        for i, what in enumerate(chosen):
            error = abs(column(rows, "sum", what=what) - column(rows, "true", what=what))
            one.plot(ORDERS, error, label=what, markevery=4, **style(i))
        one.set(yscale="log", xlabel="terms of the series", ylabel="error")
        one.set_title(title, fontsize=9)
        legend(one)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
