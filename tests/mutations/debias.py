"""Small errors in ``debias``: one for each term of its formulas."""

BY_HAND = "estimators/test_debias.py -k one_unit_is_corrected"
CURVED = "estimators/test_debias.py -k no_variance"
OFTEN = "estimators/test_debias.py -k more_often"
LEARNED = "estimators/test_debias.py -k whatever_it_has_learned"
QUADRATIC = "estimators/test_debias.py -k nothing_to_correct"
COUNTED = "estimators/test_debias.py -k one_evaluation"
MEANS = "estimators/test_means.py -k three_layers and debias"
CERTAIN = "estimators/test_contract.py -k certain and debias"
REFUSED = "estimators/test_debias.py -k see_more_than_a_draw"

DEBIAS, FLIP = "estimators/debias.py", "estimators/_one_flip.py"

MUTATIONS = (  # what, file under fsb/, old text, new text, tests
    ("debias: the rule alone", DEBIAS,
     "estimates.append(here[site.name].estimate + correction)",
     "estimates.append(here[site.name].estimate)", BY_HAND),
    ("debias: the correction alone", DEBIAS,
     "estimates.append(here[site.name].estimate + correction)",
     "estimates.append(correction)", BY_HAND),
    ("debias: every unit corrected by the flip of one", DEBIAS,
     "gap = jnp.where(over_event(mask, site), gap, 0)", "gap = gap", BY_HAND),
    ("debias: 1 / q left out", DEBIAS,
     "correction = over_event(weights[site.name], site) * gap.sum(0)",
     "correction = gap.sum(0)", BY_HAND),
    ("debias: the change not that from the first run", DEBIAS,
     "jax.lax.stop_gradient(changed - losses)", "jax.lax.stop_gradient(changed)", BY_HAND),
    ("debias: 1 / q without the number of flips", FLIP,
     "1 / (flips * q)", "1 / q", "estimators/test_means.py -k every_encoding and debias-darn"),
    ("debias: the mean of the rule without the run", FLIP,
     "+ p * left(here) + rest", "+ rest", BY_HAND),
    ("debias: the mean of the rule without the flip", FLIP,
     "+ p * left(here) + rest * left(there)", "+ p * left(here)", BY_HAND),
    ("debias: the two probabilities exchanged", FLIP,
     "+ p * left(here) + rest * left(there)",
     "+ rest * left(here) + p * left(there)", BY_HAND),
    ("debias: v twice", FLIP, "gap = symmetric * over", "gap = 2 * symmetric * over", BY_HAND),
    ("debias: the trapezoid left out", FLIP, "(1,) * (trapezoid.ndim - 1)) - trapezoid",
     "(1,) * (trapezoid.ndim - 1))", QUADRATIC),
    ("debias: twice the trapezoid", FLIP, "* dz, site) / 2", "* dz, site)", BY_HAND),
    ("debias: the sign of the flip", FLIP,
     "step = site.dist.decode(other.z) - site.dist.decode(site.z)",
     "step = site.dist.decode(site.z) - site.dist.decode(other.z)", BY_HAND),
    ("debias, categorical: the pair weighed by one of its probabilities", FLIP,
     "symmetric = rest * rest_there / jnp.maximum(rest + rest_there, TINY)",
     "symmetric = rest / 2", f"{LEARNED} and categorical"),
    ("debias, categorical: the other value drawn from all", FLIP,
     "jnp.where(site.z > 0, -jnp.inf, gumbel)", "gumbel", f"{LEARNED} and categorical"),
    ("debias: slopes without the rules of the layers below", FLIP,
     "follow(pull, eta + nudge, jax.lax.stop_gradient(z) + shift)",
     "jax.lax.stop_gradient(z) + shift", BY_HAND),
    ("debias: the rule at the draw, not at the value it was given", FLIP,
     "z = jnp.where(where, value, z)", "z = jnp.where(where, z, value)", BY_HAND),
    ("debias: the layers below differentiated in the params", FLIP,
     "jax.lax.stop_gradient(z) + shift)", "z + shift)", QUADRATIC),
    ("debias: the curvature with the other sign", DEBIAS,
     "return jax.lax.stop_gradient(bulge) - bulge", "return bulge - jax.lax.stop_gradient(bulge)",
     CURVED),
    ("debias: half the curvature", DEBIAS, "away**2) / 2", "away**2) / 4", CURVED),
    ("debias: curvature around a value, not the midpoint", DEBIAS,
     "(support.min() + support.max()) / 2", "support.min()", CURVED),
    ("debias: the curvature of the straightened loss learned", DEBIAS,
     "curvature = ratio(sums.curvature)[None] + bend", "curvature = bend", CURVED),
    ("debias: the slope's rise not over the distance", FLIP,
     "rise / jnp.maximum(over_units(dz**2, site), TINY)", "rise", CURVED),
    ("debias: no curvature learned", DEBIAS,
     "add(sums.curvature, v**2 * curvature, v**2)", "sums.curvature", CURVED),
    ("debias: the straightened loss for the loss", DEBIAS,
     "return jax.lax.stop_gradient(bulge) - bulge", "return -bulge", "estimators/test_contract.py"
     " -k the_value_is_the_loss and debias"),
    ("debias: q without the sizes", FLIP, "x * size.get(name, 1.0)", "x", OFTEN),
    ("debias: q by the square of the size", DEBIAS, "jnp.sqrt(ratio(sums.square))",
     "ratio(sums.square)", OFTEN),
    ("debias: q proportional to v", FLIP, "jnp.sqrt(spread(site)).astype", "spread(site).astype",
     BY_HAND),
    ("debias: a run for every layer", DEBIAS, "losses, sites, here = at({})",
     "losses, sites, here = at({})[0], at({})[1], at({})[2]", COUNTED),
    ("debias: certain units flipped", FLIP, "dtype=bool) & (q > 0)[None]", "dtype=bool)",
     CERTAIN),
    ("debias: noisy rules taken", "estimators/local.py", "pull if draw is draw_hard else None",
     "pull", REFUSED),
)  # fmt: skip
