"""Small errors in the combinators and in what measures the estimators."""

COMBINED = "estimators/test_combinators.py -k"
LAB = "lab/test_lab.py -k"
AVERAGE, SWITCH = "estimators/average.py", "estimators/switch.py"
NEIGHBOURS, SITE = "estimators/noise_operator.py", "estimators/per_site.py"
MEASURES = "diagnostics.py"

MUTATIONS = (  # what, file under fsb/, old text, new text, tests
    ("average: the sum", AVERAGE, "return losses.mean(0),", "return losses.sum(0),",
     f"{COMBINED} average"),
    ("average: one key for all", AVERAGE, "lambda key: estimator.surrogate",
     "lambda _, key=keys[0]: estimator.surrogate", f"{COMBINED} average"),
    ("average: counters added up", AVERAGE, "if jnp.issubdtype(x.dtype, jnp.inexact) else x[0]",
     "if jnp.issubdtype(x.dtype, jnp.inexact) else x.sum(0)", f"{COMBINED} average"),
    ("switch: one step late", SWITCH, "count < step, turn(0)", "count <= step, turn(0)",
     f"{COMBINED} switch"),
    ("switch: the other way round", SWITCH, "turn(0), turn(1))", "turn(1), turn(0))",
     f"{COMBINED} switch"),
    ("switch: both states move", SWITCH, "aux.state if i == which else states[i]",
     "aux.state if i == which else jax.tree.map(lambda x: x + 1, states[i])",
     f"{COMBINED} switch"),
    ("noise operator: rho for 1 - rho", NEIGHBOURS, "bernoulli(keep_key, self.rho,",
     "bernoulli(keep_key, 1 - self.rho,", f"{COMBINED} proposition"),
    ("noise operator: one neighbour for all", NEIGHBOURS, "jax.random.split(site_key(self.own, name))",
     "jax.random.split(site_key(self.key, name))", f"{COMBINED} proposition"),
    ("noise operator: independent draws", NEIGHBOURS, "rule.noise(site_key(self.key, name), eta, dist)",
     "rule.noise(site_key(self.own, name + 'x'), eta, dist)", f"{COMBINED} proposition"),
    ("only: the others are drawn by the rule too", SITE,
     "losses, _ = run(mixed(own, frozen(ancestral(key))))",
     "losses, _ = run(ruled(estimator.rule, key))", f"{COMBINED} only"),
    ("only: all sites seen", SITE, "_part(run, chosen, {})", "_part(run, 'z0z1z2', {})",
     f"{COMBINED} only"),
    ("per_site: the direct part counted twice", SITE, "losses + (estimate - plain)",
     "losses + estimate", f"{COMBINED} side_by_side"),
    ("per_site: rules left out", SITE, "_part(run, names, own)", "_part(run, names, {})",
     f"{COMBINED} attached_below"),
    ("per_site: the last group alone", SITE, "losses = losses + (estimate - plain)",
     "losses = estimate", f"{COMBINED} side_by_side"),
    ("moments: draws of a chunk share a key", MEASURES,
     "jax.vmap(one)(jax.random.split(key, chunk_size))",
     "jax.vmap(one)(jnp.stack([key] * chunk_size))",
     f"{LAB} moments"),
    ("moments: no shift on merging", MEASURES, "shift**2 * self.draws * weight",
     "0 * shift**2 * weight", f"{LAB} moments"),
    ("quality: the noise of the bias not taken off", MEASURES,
     "crossed = products.sum() - np.trace(products)", "crossed = products.sum()",
     f"{LAB} bias"),
    ("quality: variance of the mean", MEASURES, "(float(whole.draws) - 1)",
     "(float(whole.draws) - 1) ** 2", f"{LAB} quality"),
    ("quality: cosine without the variance", MEASURES, "strength**2 + variance)", "strength**2)",
     f"{LAB} quality"),
)  # fmt: skip
