"""Small errors in local expectations and in the flips that they stand on."""

LOCAL = "estimators/local_expectation.py"
EVALUATE, FLIPS, FLIPPED, RULES = (
    f"estimators/_tracing/{name}.py" for name in ("evaluate", "flips", "flipped", "flip_rules")
)
OWN = "estimators/test_local_expectation.py"
PLAIN = "estimators/test_flips.py"

MUTATIONS = (  # what, file under fsb/, old text, new text, tests
    ("local expectation: sign", LOCAL, "(1 - 2 * site.dist.decode(site.z))",
     "(2 * site.dist.decode(site.z) - 1)", OWN),
    ("local expectation: 1 - p forgotten", LOCAL,
     "v = bit_variance(site.eta)", "v = jax.nn.sigmoid(site.eta)", OWN),
    ("local expectation: the value drawn for another",
     "distributions/bernoulli.py", "jnp.where(z == high, low, high)",
     "jnp.where(z == high, high, low)", OWN),
    ("local expectation: the mean not taken off", LOCAL, "return softmax_pull(p, table)",
     "return p * table", OWN),
    ("local expectation: the changes at the wrong values", LOCAL, "jnp.where(others > 0, changes",
     "jnp.where(jnp.roll(others, 1, -1) > 0, changes", OWN),
    ("local expectation: a value left out", LOCAL, "range(site.z.shape[-1])])[1:]",
     "range(site.z.shape[-1])])[2:]", OWN),
    ("local expectation: one run for all samples", LOCAL, "average(one, samples)",
     "average(one, 1)", OWN),
    ("flips: a block's units for all blocks", FLIPS, "others[unit[:, None], choice[None]]",
     "others[: len(unit), choice]", PLAIN),
    ("flips: a block's values for all blocks", FLIPS, "others[unit[:, None], choice[None]]",
     "others[unit, : len(choice)]", PLAIN),
    ("flips: a block too large", FLIPS, "at_once = memory // bytes_of_one",
     "at_once = 2 * memory // bytes_of_one", f"{PLAIN} -k memory"),
    ("flips: differentiated", EVALUATE,
     "self.consts = jax.lax.stop_gradient(closed.consts)", "self.consts = closed.consts",
     f"{PLAIN} -k constant"),
    ("flips: calls not entered", EVALUATE, "inner is not None and opens(ins)",
     "False", f"{PLAIN} -k rank_one"),
    ("flips: an operation without a rule keeps its value at z", RULES,
     "steps.append(Step(vectorised, tuple(changed), tuple(Flipped(x) for x in outs)))\n"
     "    return list(steps[-1].outs)", "return list(outs)", PLAIN),
    ("flipped: the whole at z itself", FLIPPED, "flat.at[:, slots].set(value)",
     "flat.at[:, slots].set(flat[:, slots])", PLAIN),
    ("flipped: old values not taken off", FLIPPED,
     "return new - at_slots(x.base, x.slots, unit)", "return new", PLAIN),
    ("flipped: other operands of the wrong unit", FLIPPED,
     "x[:, jnp.asarray(slots)[unit]], 0, 1)", "x[:, jnp.asarray(slots)[0 * unit]], 0, 1)", PLAIN),
    ("flip rules: elementwise operands of different places", RULES,
     "x.base.shape != out.shape or not np.array_equal(x.slots, slots)",
     "x.base.shape != out.shape", PLAIN),
    ("flip rules: places not moved", RULES, "place[np.argsort(source)][x.slots]", "x.slots",
     PLAIN),
    ("flip rules: a sum over units taken for one of a unit", RULES,
     "if (slots == slots[:, :1]).all():", "if True:", PLAIN),
    ("flip rules: rows of the wrong unit", RULES, "jnp.asarray(row)[unit]]",
     "jnp.asarray(row)[0 * unit]]", PLAIN),
    ("flip rules: examples and columns exchanged", RULES, "result.swapaxes(2, 3)", "result",
     PLAIN),
    ("flip rules: a product without the rank-one update", RULES,
     '    "dot_general": dot_general,\n', "", f"{PLAIN} -k rank_one"),
)  # fmt: skip
