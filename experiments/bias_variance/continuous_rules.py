"""Theorem 1 of Fourier stochastic backpropagation, and its rules for continuous families.

The gradient as a series of derivatives, as published and resummed, against closed forms.
"""

import jax
import jax.numpy as jnp
import numpy as np
from common import SEED, check, claim, column, figure, legend, main, mean_and_error, style
from scipy.special import gammaln

import fsb

ORDERS = tuple(range(1, 9))
EXACT = fsb.fourier_exact()
SINE = (lambda z: jnp.sin(1.3 * z), fsb.Normal(), (0.4, 0.7))
FOURTH = (lambda z: z**4, fsb.Laplace(), (0.4, 0.6))
GAMMA = (2.0, 0.5)
COSINES = {w: (lambda z, w=w: jnp.cos(w * z), fsb.Laplace(), (0.3, 0.6)) for w in (0.5, 3.0)}
SHARES = {a: (lambda z: z, fsb.Beta(), (0.6 * a, 0.4 * a)) for a in (2.7, 10.0, 30.0)}
CORNER = (lambda z: z[..., 0] * z[..., 1], fsb.Dirichlet(), (1.2, 0.7, 0.8))


def series(order):
    return fsb.fourier_series(order, check=False)


def estimates(estimator, case, count, seed):
    """``count`` estimates of the gradient in eta, [count, parameters]."""
    f, dist, eta = case
    vector = isinstance(dist, fsb.Dirichlet)
    rows = [jnp.full((count, 1), value, jnp.float32) for value in eta]

    def loss(rows, sample):
        return f(sample("z", dist, jnp.stack(rows, -1) if vector else tuple(rows)))[:, 0]

    grads = jax.jit(fsb.value_and_grad(estimator, loss))(rows, jax.random.key(SEED + seed))[1]
    return count * np.concatenate([np.asarray(g, np.float64) for g in grads], 1)


def closed_forms():
    """dE[f]/d eta of every case."""
    m, s = SINE[2]
    damp = np.exp(-((1.3 * s) ** 2) / 2)
    forms = {"sine": (1.3 * np.cos(1.3 * m) * damp, -(1.3**2) * s * np.sin(1.3 * m) * damp)}
    m, b = FOURTH[2]
    forms["fourth"] = (4 * m**3 + 24 * m * b**2, 24 * m**2 * b + 96 * b**3)
    for w, (_, _, (m, b)) in COSINES.items():
        damp = 1 / (1 + (b * w) ** 2)
        forms[f"cos {w}"] = (
            -w * np.sin(w * m) * damp,
            -2 * b * w**2 * np.cos(w * m) * damp**2,
        )
    for a, (_, _, (alpha, beta)) in SHARES.items():
        forms[f"share {a}"] = (beta / a**2, -alpha / a**2)
    one, two, three = CORNER[2]
    total = one + two + three
    both = one * two / (total * (total + 1))
    less = both * (1 / total + 1 / (total + 1))
    forms["corner"] = (both / one - less, both / two - less, -less)
    return {name: np.array(form) for name, form in forms.items()}


def off(estimator, case, true, count, seed):
    """Largest deviation in standard errors, its mean, and the standard error over the gradient."""
    mean, error = mean_and_error(estimates(estimator, case, count, seed))
    # a rule may be without noise: what rounding leaves is then no deviation
    error = np.hypot(error, 1e-5 * np.abs(true).max())
    return float((abs(mean - true) / error).max()), mean, float((error / abs(true).max()).max())


def partial_sums(alpha, beta):
    """The series of eq. 21 for f(z) = z in alpha, each mean in closed form: infinite from n = a."""
    a = alpha + beta
    n = np.arange(1, len(ORDERS) + 1)
    with np.errstate(invalid="ignore"):
        terms = (-1.0) ** (n - 1) * np.exp(gammaln(n) + gammaln(a - n) - gammaln(a)) * beta / a
    return np.cumsum(np.where(n < a, terms, np.nan))


def measure(count=2**19):
    true = closed_forms()
    rows = []
    for case, what in ((COSINES[0.5], "cos 0.5"), (COSINES[3.0], "cos 3.0")):
        for order in ORDERS:
            z, mean, _ = off(series(order), case, true[what], count, order)
            rows.append({"what": what, "order": order, "mean": mean[1], "true": true[what][1]})
        z, mean, _ = off(EXACT, case, true[what], count, 20)
        rows.append({"what": what, "order": 0, "mean": mean[1], "true": true[what][1], "z": z})
    for a, case in SHARES.items():
        for order, value in zip(ORDERS, partial_sums(*case[2]), strict=True):
            given = {"what": f"share {a}", "order": order, "true": true[f"share {a}"][0]}
            rows.append(given | {"mean": value if np.isfinite(value) else None})
    sine, _, sine_error = off(series(2), SINE, true["sine"], count, 30)
    fourth, _, fourth_error = off(series(2), FOURTH, true["fourth"], count, 31)
    share, _, share_error = off(EXACT, SHARES[2.7], true["share 2.7"], count, 33)
    corner, _, corner_error = off(EXACT, CORNER, true["corner"], count, 34)
    m, b = FOURTH[2]
    printed = 12 * (m**2 + 2 * b**2) + 24 * b  # (1 / b) sum_n b^n E f^(2n)
    at = lambda what, order: next(
        row["mean"] for row in rows if row["what"] == what and row["order"] == order
    )
    inside, outside = at("cos 0.5", 8), at("cos 3.0", 8)
    resummed = next(row["z"] for row in rows if row["what"] == "cos 3.0" and "z" in row)
    wide, narrow = at("share 30.0", 8), at("share 2.7", 2)
    ends = f"standard errors (of {{:.4f}} of the gradient; {count:,} draws)"
    far = lambda x: f"{x:.1f}"
    k, mu = GAMMA
    growth = {"printed": -k / (1 + mu), "right": k / (1 - mu)}  # d log phi / d mu at i and at -i
    records = {
        "C theorem 1": claim(
            "The gradient is a series of expected derivatives, for square-integrable losses.",
            f"cos wz under Laplace(0.3, 0.6), in b, 8 terms: w = 0.5 {inside:.4f}, "
            f"w = 3 {outside:.4g}; the resummed rule at w = 3 {far(resummed)} standard errors off",
            f"{true['cos 0.5'][1]:.4f}, {true['cos 3.0'][1]:.4f}",
            [check("8 terms at w = 3", outside, "=", true["cos 3.0"][1], 0.02)],
            [check("8 terms at w = 0.5", inside, "=", true["cos 0.5"][1], 0.002),
             check("resummed, w = 3, in standard errors", resummed, "<", 4)],
            note="It converges for losses that are band-limited inside its radius (w < 1 / b), "
            "polynomials, and e^cz inside it. The rules summed to expectations have no radius.",
        ),
        "C eq 15": claim(
            "The rule for the Gaussian.",
            f"sin 1.3z: {far(sine)} {ends.format(sine_error)}", "0",
            [check("in standard errors", sine, "<", 4)],
        ),
        "C eq 19": claim(
            "The rule for the Laplace distribution, of scale b.",
            f"z^4, in b: as printed {printed:.2f}; with b^(2n) and 2 / b {far(fourth)} "
            f"{ends.format(fourth_error)}", f"{true['fourth'][1]:.2f}",
            [check("as printed", printed, "=", true["fourth"][1], 0.01)],
            [check("corrected, in standard errors", fourth, "<", 4)],
            note="The printed rule takes b for the square of the scale, and the KL of its eq. 27 "
            "for the scale.",
        ),
        "C eq 21": claim(
            "The rule for the beta distribution.",
            f"E z in alpha: 8 terms at alpha + beta = 30 {wide:.5f}; at 2.7 2 terms {narrow:.4f}, "
            f"a third is infinite; resummed {far(share)} {ends.format(share_error)}",
            f"{true['share 30.0'][0]:.5f}; {true['share 2.7'][0]:.4f}",
            [check("2 terms at 2.7", narrow, "=", true["share 2.7"][0], 0.01)],
            [check("8 terms at 30", wide, "=", true["share 30.0"][0], 2e-4),
             check("resummed at 2.7, in standard errors", share, "<", 4)],
            note="Term n is finite for n < alpha + beta only: the series is asymptotic.",
        ),
        "C eq 22": claim(
            "The rule for the Dirichlet distribution.",
            f"E z_1 z_2 at (1.2, 0.7, 0.8): resummed {far(corner)} {ends.format(corner_error)}; "
            f"the series is that of eq. 21, infinite from the third term on", "0",
            [check("terms that are finite", 2, ">", 3)],
            [check("resummed, in standard errors", corner, "<", 4)],
            note="As eq. 21: right for concentrations whose sum is well above the order.",
        ),
        "C eq 23": claim(
            "For f = e^cz the gradient is that of log phi, at i for c = 1, times E f.",
            f"gamma(2, 0.5), e^z, d log E f / d mu: at i {growth['printed']:.4f}, "
            f"at -i {growth['right']:.4f}", f"{k / (1 - mu):.4f}",
            [check("at i", growth["printed"], "=", k / (1 - mu), 1e-6)],
            [check("at -i", growth["right"], "=", k / (1 - mu), 1e-6)],
            note="phi(i) belongs to e^-z, as in the paper's second toy.",
        ),
    }  # fmt: skip
    return rows, records


def picture(rows):
    found, (left, right) = figure(2)
    cases = (("cos 0.5", r"$\cos 0.5 z$: inside"), ("cos 3.0", r"$\cos 3 z$: outside"))
    for i, (what, label) in enumerate(cases):
        error = abs(column(rows, "mean", what=what) - column(rows, "true", what=what))
        left.plot(ORDERS, error[: len(ORDERS)], label=label, **style(i))
    left.set(yscale="log", xlabel="terms of the series", ylabel="error of the gradient in b")
    left.set_title("Laplace(0.3, 0.6)", fontsize=9)
    for i, a in enumerate(SHARES):
        mean = column(rows, "mean", what=f"share {a}").astype(float)
        ratio = mean / column(rows, "true", what=f"share {a}")
        right.plot(ORDERS, ratio, label=f"alpha + beta = {a:g}", **style(i))
    right.axhline(1, color="0.4", linewidth=0.8)
    right.set(xlabel="terms of the series", ylabel="series over gradient", ylim=(-1, 2))
    right.set_title("Beta, E z in alpha", fontsize=9)
    for one in (left, right):
        legend(one)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
