"""A one-line summary of a model."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax

from fsb.errors import FsbError
from fsb.sites import Site, collect_sites, mean


@functools.lru_cache(maxsize=8)
def summary(model: Any, shape: tuple[int, ...]) -> str:
    """The parameters, layers and latent bits of a model, from its shapes alone.

    Args:
      model: a Flax module, ``apply(variables, x, sample)``; its attribute ``deterministic_layers``
        is reported if there is one.
      shape: of one example.

    >>> from fsb.networks import BernoulliLikelihood, vae
    >>> summary(vae((8, 8), BernoulliLikelihood(), layers=2, width=20), (8, 8))
    '6,864 parameters, 8 deterministic and 2 stochastic layers, 40 stochastic bits an image'
    """
    x = jax.ShapeDtypeStruct((1, *shape), "float32")
    init = lambda key, x: collect_sites(lambda sample: model.init(key, x, sample), mean())
    variables, sites = jax.eval_shape(init, jax.random.key(0), x)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    deterministic = getattr(model, "deterministic_layers", None)
    layers = f"{len(sites)} stochastic layers"
    if deterministic is not None:
        layers = f"{deterministic} deterministic and {layers}"
    bits = f"{sum(map(stochastic_bits, sites)):,.0f} stochastic bits an image"
    return f"{parameters:,} parameters, {layers}, {bits}"


def stochastic_bits(site: Site) -> float:
    """Capacity in bits of a site's discrete units for one example; 0 if they are continuous."""
    try:
        values = jax.eval_shape(site.dist.support, site.eta).shape[0]
    except FsbError:  # infinitely many
        return 0.0
    entropies = jax.eval_shape(site.dist.entropy, site.eta)
    return entropies.size / entropies.shape[0] * math.log2(values)
