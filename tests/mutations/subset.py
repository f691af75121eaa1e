"""Small errors in subsets of k elements, and in SIMPLE."""

SUBSET = "distributions/subset.py"
TESTS = "distributions/test_subset.py -k"
ALL = f"{TESTS} against_enumeration"

MUTATIONS = (  # what, file under fsb/, old text, new text, tests
    ("subset: an element may be taken twice", SUBSET, "jnp.logaddexp(ways, taken), ways",
     "jnp.logaddexp(ways, jnp.logaddexp(taken, ways + eta)), ways", ALL),
    ("subset: one fewer", SUBSET, "[0][..., -1]\n", "[0][..., -2]\n", ALL),
    ("subset: density without its sum", SUBSET, ".sum(-1) - rest)", ".sum(-1))", ALL),
    ("subset: density of clipped logits", SUBSET, "((z - top) * wide)",
     "((z - top) * bounded(wide))", f"{TESTS} keeps_its_density"),
    ("subset: entropy counts the first k twice", SUBSET, "(rest - (beyond", "(-rest - (beyond",
     ALL),
    ("subset: draws without what is left", SUBSET, "jnp.exp(eta + without - everything)",
     "jax.nn.sigmoid(eta)", f"{TESTS} have_the_probabilities"),
    ("subset: from the first element", SUBSET, "(*rows, ways), reverse=True",
     "(*rows, ways), reverse=False", f"{TESTS} have_the_probabilities"),
    ("subset: infinite logits not compared", SUBSET, "jnp.where(eta == middle, 0, eta - middle)",
     "eta - middle", f"{TESTS} infinite"),
    ("subset: logits not clipped", SUBSET, "jnp.clip(eta, -CERTAIN, CERTAIN)", "eta",
     f"{TESTS} infinite"),
    ("SIMPLE: the mean's own value", "estimators/st.py", "jax.vjp(dist.mean, drawn.eta)[1](g)[0]",
     "dist.mean(drawn.eta) * g", f"{TESTS} simple"),
    ("SIMPLE: of the draw's Categorical", "estimators/st.py",
     "jax.vjp(dist.mean, drawn.eta)[1](g)[0]", "softmax_pull(jax.nn.softmax(drawn.eta), g)",
     f"{TESTS} simple"),
)  # fmt: skip
