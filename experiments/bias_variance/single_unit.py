"""One unit and one more parameter: equations 5 and 19 of Shekhovtsov 2021, and two remarks.

Means and variances of straight-through and DARN; relaxed samples in the gradient of a decoder; the
gradient of the evidence rescaled beside an exact divergence.
"""

import jax
import jax.numpy as jnp
import numpy as np
from common import SEED, SIGNS, ZERO_ONE, check, claim, draws, figure, legend, main, sigmoid, style

import fsb

LOGITS = (-2.0, -0.5, 0.8, 2.0)
F = lambda z: jnp.sin(1.7 * z) + 0.6 * z**2
SLOPE = lambda z: 1.7 * np.cos(1.7 * z) + 1.2 * z
QUADRATIC = lambda z: 0.7 * z - 0.4 * z**2
TEMPERATURE = 0.5
SHARES = {"gumbel_softmax": fsb.gumbel_softmax(TEMPERATURE),
          "st_gumbel_softmax": fsb.st_gumbel_softmax(TEMPERATURE), "st": fsb.st(),
          "darn": fsb.darn()}  # fmt: skip


def moments(x):
    """Mean, its standard error, variance and its standard error."""
    x = np.asarray(x, np.float64)
    mean, variance = x.mean(), x.var(ddof=1)
    fourth = ((x - mean) ** 4).mean()
    n = len(x)
    return mean, np.sqrt(variance / n), variance, np.sqrt(max(fourth - variance**2, 0) / n)


def off(value, true, error):
    """Distance in standard errors; what single precision rounds is no distance."""
    return abs(value - true) / np.hypot(error, 2e-6 * max(abs(true), 1e-3))


def straight_through(count):
    """ST for one unit in {0, 1}: mean and variance against eq. 5, in the logit."""
    rows = []
    for eta in LOGITS:
        p = sigmoid(eta)
        ones, zeros = SLOPE(1.0), SLOPE(0.0)
        jacobian = p * (1 - p)
        mean, error, variance, wide = moments(
            draws(fsb.st(), lambda z: F(z[:, 0]), eta, count, ZERO_ONE)[:, 0]
        )
        predicted = jacobian * (p * ones + (1 - p) * zeros)
        spread = jacobian**2 * p * (1 - p) * (ones - zeros) ** 2
        rows.append({"what": "st", "eta": eta, "mean": mean, "error": error,
                     "predicted": predicted, "variance": variance, "predicted_variance": spread,
                     "z": off(mean, predicted, error),
                     "z_variance": off(variance, spread, wide)})  # fmt: skip
    return rows


def reweighed(count):
    """DARN for one unit in {-1, 1}: the mean of eq. 19, and the gradient of a quadratic."""
    rows = []
    for eta in LOGITS:
        p = sigmoid(eta)
        jacobian = 2 * p * (1 - p)  # d mean / d eta
        for name, f, predicted in (
            ("darn", F, jacobian * (SLOPE(1.0) + SLOPE(-1.0)) / 2),
            ("darn, quadratic", QUADRATIC, jacobian * 0.7),
        ):
            mean, error, *_ = moments(
                draws(fsb.darn(), lambda z, f=f: f(z[:, 0]), eta, count, SIGNS)[:, 0]
            )
            rows.append({"what": name, "eta": eta, "mean": mean, "error": error,
                         "predicted": predicted, "z": off(mean, predicted, error)})  # fmt: skip
    return rows


def decoder(count, eta=0.8):
    """d/dw of E w z^2 at w = 1, which is E z^2 = p: a parameter behind the sample."""
    rows, p = [], float(sigmoid(eta))
    for i, (name, estimator) in enumerate(SHARES.items()):

        def loss(params, sample):
            z = sample("z", ZERO_ONE, jnp.broadcast_to(params["eta"], (count, 1)))
            return params["w"] * z[:, 0] ** 2  # [N], each example with its own w

        params = {"eta": jnp.float32(eta), "w": jnp.ones(count)}
        key = jax.random.key(SEED + i)
        grads = jax.jit(fsb.value_and_grad(estimator, loss))(params, key)[1]
        mean, error, *_ = moments(count * np.asarray(grads["w"]))
        rows.append({"what": f"decoder, {name}", "eta": eta, "mean": mean, "error": error,
                     "predicted": p, "z": off(mean, p, error)})  # fmt: skip
    return rows


def evidence(count, eta=0.8):
    """ST of A in {-1, 1}, half the evidence's gradient, beside the exact divergence from 1/2."""

    def loss(logits, sample):
        z = sample("z", SIGNS, logits)
        p = jax.nn.sigmoid(logits)
        kl = p * jnp.log(p) + (1 - p) * jnp.log1p(-p) + jnp.log(2.0)
        return 1.5 * z[:, 0] + kl[:, 0]

    p = float(sigmoid(eta))
    data, divergence = 1.5 * 2 * p * (1 - p), p * (1 - p) * eta
    paper = fsb.foust(delta=0.0, scale_mode="paper")
    logits = jnp.full((count, 1), eta, jnp.float32)
    rows = []
    for name, estimator, predicted in (
        ("evidence, half", paper, data / 2 + divergence),
        ("evidence, whole", fsb.foust(delta=0.0), data + divergence),
    ):
        grads = jax.jit(fsb.value_and_grad(estimator, loss))(logits, jax.random.key(SEED))[1]
        mean, error, *_ = moments(count * np.asarray(grads)[:, 0])
        rows.append({"what": name, "eta": eta, "mean": mean, "error": error,
                     "predicted": predicted, "z": off(mean, predicted, error)})  # fmt: skip
    return rows


def measure(count=2**19):
    parts = [straight_through(count), reweighed(count), decoder(count), evidence(count)]
    st, darn, behind, scaled = parts
    largest = lambda rows, key="z": max(float(row[key]) for row in rows)
    two = [[row for row in darn if row["what"] == what] for what in ("darn", "darn, quadratic")]
    by = {row["what"].removeprefix("decoder, "): row for row in behind}
    half, whole = scaled
    optima = [float(sigmoid(-2 * 1.5 * share)) for share in (0.5, 1.0)]  # of share 1.5 E z + KL
    records = {
        "B eq 5": claim(
            "Straight-through for one unit has the mean p f'(1) + (1 - p) f'(0) and the variance "
            "p (1 - p) (f'(1) - f'(0))^2.",
            f"at {len(st)} logits: mean at most {largest(st):.1f}, variance at most "
            f"{largest(st, 'z_variance'):.1f} standard errors off", "0; 0",
            [check("mean, in standard errors", largest(st), "<", 4),
             check("variance, in standard errors", largest(st, "z_variance"), "<", 4)],
            note=f"f(z) = sin 1.7z + 0.6 z^2 in {{0, 1}}; {count:,} draws; in the logit, p (1 - p) "
            "times these.",
        ),
        "B eq 19": claim(
            "The mean of DARN is (f'(1) + f'(-1)) / 2, so that it is unbiased for quadratics.",
            f"at {len(LOGITS)} logits: at most {largest(two[0]):.1f} standard errors off; a "
            f"quadratic's gradient at most {largest(two[1]):.1f}", "0; 0",
            [check("mean, in standard errors", largest(two[0]), "<", 4),
             check("quadratic, in standard errors", largest(two[1]), "<", 4)],
            note=f"In {{-1, 1}}, in the mean parameter; {count:,} draws.",
        ),
        "B sec 3, decoder": claim(
            "Relaxed samples bias the gradient in the parameters behind them too, the decoder's; "
            "hard ones do not.",
            "d/dw E w z^2 = p: " + ", ".join(f"{n} {r['mean']:.4f} +- {r['error']:.4f}"
                                             for n, r in by.items()),
            f"{by['st']['predicted']:.4f}; Gumbel-Softmax another",
            [check("Gumbel-Softmax, in standard errors", by["gumbel_softmax"]["z"], ">", 4)]
            + [check(f"{name}, in standard errors", by[name]["z"], "<", 4)
               for name in ("st_gumbel_softmax", "st", "darn")],
            note=f"Temperature {TEMPERATURE}, {count:,} draws.",
        ),
        "B sec 5, evidence": claim(
            "Rescaling the gradient of the evidence alone, as the straight-through of A does in "
            "{-1, 1}, is the gradient of another objective, beside an exact divergence.",
            f"d/d eta of 1.5 E z + KL at {half['eta']}: A's {half['mean']:.4f} is that of half the "
            f"evidence ({half['predicted']:.4f}), the gradient {whole['predicted']:.4f}; minima at "
            f"p = {optima[0]:.3f} and {optima[1]:.3f}", "half the evidence's",
            [check("from half the evidence's, in standard errors", half["z"], "<", 4),
             check("with the factor 2a from the whole, in standard errors", whole["z"], "<", 4),
             check("distance of the minima", optima[0] - optima[1], ">", 0.1)],
            note="fsb.foust(delta=0, scale_mode='paper') for one unit and a linear loss; no "
            "learning rate makes up for it.",
        ),
    }  # fmt: skip
    return [row for part in parts for row in part], records


def picture(rows):
    found, (left, right) = figure(2)
    for i, what in enumerate(("st", "darn")):
        chosen = [row for row in rows if row["what"] == what]
        eta, mean, predicted = (
            [row[name] for row in chosen] for name in ("eta", "mean", "predicted")
        )
        look = style(i)
        left.plot(eta, predicted, color=look["color"], linestyle=look["linestyle"])
        left.plot(eta, mean, color=look["color"], marker=look["marker"], linestyle="none",
                  label=what)  # fmt: skip
    left.set(xlabel="logit", ylabel="mean of the estimate")
    left.set_title("predicted (lines) and measured", fontsize=9)
    legend(left)
    chosen = [row for row in rows if row["what"].startswith("decoder")]
    names = [row["what"].removeprefix("decoder, ").replace("_", "\n") for row in chosen]
    right.errorbar(names, [row["mean"] for row in chosen], [4 * row["error"] for row in chosen],
                   fmt="o", capsize=3, color="black")  # fmt: skip
    right.axhline(chosen[0]["predicted"], color="0.4", linewidth=0.8)
    right.set(ylabel="mean of the gradient in w")
    right.set_title("a parameter behind the sample", fontsize=9)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
