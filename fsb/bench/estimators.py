"""suite=estimators: the train step of every estimator beside st's and gumbel_softmax's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from omegaconf import DictConfig

from fsb.bench.step import speeds
from fsb.bench.tables import Tables
from fsb.bench.timing import measure, paired
from fsb.bench.variants import SHAPE, chosen, recipe_chunk, vae_recipe
from fsb.diagnostics import evaluations
from fsb.errors import FsbError
from fsb.training.step import Recipe

BESIDE = ("st", "gumbel_softmax")


def estimators(config: DictConfig) -> Tables:
    """Times of a step by estimator, the quickest first, and why others are left out.

    What an estimator learns, such as REBAR's temperature, is learned in the step.
    """
    recipes, left_out = {}, []
    for name, estimator in (chosen(BESIDE) | chosen(config.estimators)).items():
        recipe = vae_recipe(config, estimator)
        try:
            count = evaluations_of(recipe)
        except FsbError as error:
            left_out.append({"estimator": name, "reason": str(error)})
        else:
            recipes[name] = recipe, count
    chunks = {name: recipe_chunk(config, recipe) for name, (recipe, _) in recipes.items()}
    seconds = measure(chunks, config.rounds)
    rows = []
    for row in speeds(seconds, config.steps):
        name = row.pop("variant")
        beside = paired(seconds[name], seconds["gumbel_softmax"])["ratio"]
        count = recipes[name][1]
        rows.append({"estimator": name, "evaluations": count, **row, "to_gumbel_softmax": beside})
    return {"times": sorted(rows, key=lambda row: row["ms_per_step"]), "left_out": left_out}


def evaluations_of(recipe: Recipe) -> int:
    """How often an estimate evaluates the network; raises FsbError if it cannot serve it."""
    x, key = jnp.zeros((2, *SHAPE)), jax.random.key(0)
    start = lambda: recipe.model.init(key, x, lambda name, dist, eta: dist.mean(eta))
    variables = jax.eval_shape(start)
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables["params"])
    loss = recipe.loss({"mean": jnp.full(SHAPE, 0.5)}, x, 0)
    return evaluations(recipe.estimator, loss, params, key)
