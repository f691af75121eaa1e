"""Small errors in the harmonic analysis."""

TEST = "test_fourier.py -k"
SPECTRUM, TABLES, SAMPLING, BIAS = (
    f"fourier/{name}.py" for name in ("spectrum", "tables", "sampling", "bias")
)

MUTATIONS = (  # what, file under fsb/, old text, new text, tests
    ("transform: p for 1 - p", SPECTRUM, "np.array([[1 - p, p], [-s, s]])",
     "np.array([[p, 1 - p], [-s, s]])", f"{TEST} definition"),
    ("transform: variance for deviation", TABLES, "return np.sqrt(p * (1 - p))",
     "return p * (1 - p)", f"{TEST} definition"),
    ("basis: sign of low", SPECTRUM, "-high / (low + blank)", "high / (low + blank)",
     f"{TEST} identities"),
    ("basis: certain units not zero", SPECTRUM, "np.where(sure, 0.0, low / (high + blank))",
     "low / (high + blank)", f"{TEST} definition or limit"),
    ("order: unit 0 the least significant", TABLES, "n - 1 - i)", "i)", f"{TEST} definition"),
    ("derivative: not standardised", TABLES, "s = deviation(p)[unit]", "s = 1.0",
     f"{TEST} identities"),
    ("noise: rho for 1 - rho", TABLES, "(1 - rho) * (1 - p), (1 - rho) * p",
     "rho * (1 - p), rho * p", f"{TEST} identities"),
    ("stability: rho twice", SPECTRUM, "weights @ rho **", "weights @ rho ** 2 **",
     f"{TEST} identities"),
    ("influence: sets without the unit", SPECTRUM, "halves[..., 1, :].sum", "halves[..., 0, :].sum",
     f"{TEST} identities"),
    ("gradient: per p", SPECTRUM, "return deviation(p) * table[", "return table[",
     f"{TEST} lemma_1"),
    ("sampling: N for N - 1", SAMPLING, "coefficients = total / (num_samples - 1)",
     "coefficients = total / num_samples", f"{TEST} few_draws"),
    ("sampling: errors of one draw", SAMPLING, "/ (num_samples - 1))\n", ")\n",
     f"{TEST} sampling_finds"),
    ("sampling: the mean not taken off", SAMPLING, "centred = values - values.mean()",
     "centred = values", f"{TEST} their_errors"),
    ("Taylor: no factorial", BIAS, "g(t) / math.factorial(k)", "g(t)", f"{TEST} taylor"),
    ("bias: the other units without noise", BIAS, "drawn = fair if",
     "fair = _mean(slope, eta, dist, *hard, own=hard[1] / 2)\n        drawn = fair if",
     f"{TEST} lemma_2"),
    ("bias: true gradient over half the span", BIAS, "quotient = hard[0] / dist.span",
     "quotient = 2 * hard[0] / dist.span", f"{TEST} lemma_2"),
    ("bias: the paper's scale left out", BIAS, "else gamma / dist.span", "else gamma",
     f"{TEST} predicted_bias"),
    ("bias: gamma on the gradient as well", BIAS, "(scale * fair - true)",
     "scale * (fair - true)", f"{TEST} lemma_2"),
    ("bias: even part with reweighing", BIAS, "drawn = fair if importance_reweighing else ",
     "drawn = ", f"{TEST} lemma_2"),
    ("bias: noise from the other end", BIAS, "1 - 0.5 * delta * (1 - x)", "1 - delta * (1 - x)",
     f"{TEST} lemma_2"),
)  # fmt: skip
