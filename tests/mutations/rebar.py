"""Small errors in REBAR and RELAX, and in the continuous variable behind a draw."""

OWN, LAWS = "estimators/test_rebar.py", "distributions/test_relaxable.py"
FORMULA, OBJECTIVE = f"{OWN} -k draw_by_draw", f"{OWN} -k second_moment"
UNBIASED = f"{OWN} -k unbiased"
MEANS = "estimators/test_means.py -k three_layers and rebar"
RESUME = "test_resume.py -k before_its_estimator"

REBAR, B, C = "estimators/rebar.py", "distributions/bernoulli.py", "distributions/categorical.py"
ASSEMBLE, SITES = "training/setup.py", "sites.py"

MUTATIONS = (  # what, file under fsb/, old text, new text, tests
    ("REBAR: sign of the control variate", REBAR, "weigh(losses - given, weight)",
     "weigh(losses + given, weight)", FORMULA),
    ("REBAR: slope dropped", REBAR, "weight) + slope", "weight)", FORMULA),
    ("REBAR: factor 2 in the slope", REBAR, "weight) + slope", "weight) + 2 * slope", FORMULA),
    ("REBAR: the draw's side of the slope dropped", REBAR, "return (at_free - at_given).sum()",
     "return at_free.sum()", FORMULA),
    ("REBAR: scale not on the slope", REBAR, '(knobs["scale"] * x for x in parts(c))',
     '(s * x for s, x in zip((knobs["scale"], 1), parts(c)))', FORMULA),
    ("REBAR: the noise of the draw used twice", REBAR, "fold_in(key, 1), site.name)",
     "key, site.name)", FORMULA),
    ("REBAR: z of other noise than the draw", REBAR, "u: Any = site.noise",
     "u: Any = dist.noise(site_key(fold_in(key, 2), site.name), site.eta)", FORMULA),
    ("REBAR: z free of the draw for z given the draw", REBAR, "dist.conditional(v, eta, site.hard)",
     "dist.perturb(v, eta)", FORMULA),
    ("REBAR: temperature for its logarithm", REBAR, "math.log(temperature), \"scale\"",
     "temperature, \"scale\"", FORMULA),
    ("REBAR: hard draws below", REBAR, "relaxed(key, temperature_of(knobs))",
     "ancestral(key)", MEANS),
    ("REBAR: the first layer's draw for the rest", REBAR,
     "losses, site, knobs, own_key)\n\n            return",
     "losses, sites[0], knobs, own_key)\n\n            return", MEANS),
    ("REBAR: rounding left at certain units", REBAR, "jnp.where(weight == 0, 0, g)", "g + 1e-9",
     "estimators/test_contract.py -k certain and rebar"),
    ("REBAR: the objective not squared", REBAR, "g.astype(jnp.float32) ** 2",
     "jnp.abs(g.astype(jnp.float32))", OBJECTIVE),
    ("REBAR: the objective of the first site alone", REBAR, "for g in estimates)\n        return",
     "for g in estimates[:1])\n        return", OBJECTIVE),
    ("REBAR: the objective constant", REBAR, "square = sum(per_example(g.",
     "square = sum(per_example(jax.lax.stop_gradient(g).", OBJECTIVE),
    ("REBAR: all is learned", REBAR, "for k, v in start.items() if learned[k]",
     "for k, v in start.items()", f"{OWN} -k only_what"),
    ("RELAX: the network not learned", REBAR, "x + y for x, y in zip(",
     "x + jax.lax.stop_gradient(y) for x, y in zip(", OBJECTIVE),
    ("RELAX: the network's slope dropped", REBAR, "(x + y for x, y in zip((given, slope)",
     "(x + s * y for s, x, y in zip((1, 0), (given, slope)", UNBIASED),
    ("Bernoulli: sign of zeta's noise", B, "(jnp.log(1 - u) - jnp.log(u))",
     "(jnp.log(u) - jnp.log(1 - u))", LAWS),
    ("Bernoulli: zeta given the draw not cut at 0", B, "softplus(sign * eta + jnp.log(v))",
     "(sign * eta + jnp.log(v))", LAWS),
    ("Bernoulli: zeta given the draw on one side", B, "return sign * (softplus(sign * eta",
     "return (softplus(sign * eta", LAWS),
    ("Bernoulli: infinite logits not clipped in zeta", B,
     "jnp.clip(eta.astype(u.dtype), -1e30, 1e30) +", "eta.astype(u.dtype) +", LAWS),
    ("Categorical: zeta of logits that are not normalised", C,
     "jax.nn.log_softmax(bounded(eta).astype(gumbel.dtype))", "bounded(eta).astype(gumbel.dtype)",
     LAWS),
    ("Categorical: the others not cut at the drawn one", C,
     "-jnp.logaddexp(-self.perturb(gumbel, eta), -top)", "self.perturb(gumbel, eta)", LAWS),
    ("Categorical: the drawn one about its log p", C, "jnp.where(hard > 0, top, below)",
     "jnp.where(hard > 0, self.perturb(gumbel, eta), below)", LAWS),
    ("control optimizer: ignored", ASSEMBLE, 'if config.get("control_optimizer") is None:',
     "if True:", RESUME),
    ("control optimizer: older runs get the new one", ASSEMBLE, "return optax.adam(1e-3)",
     "return optax.sgd(1e-3)", RESUME),
)  # fmt: skip
