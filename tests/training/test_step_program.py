"""What a chunk of train steps is compiled to, read in the program."""

import math
import re

import jax
import jax.numpy as jnp
import pytest

from fsb.cli.program import preflight
from fsb.cli.schema import Train
from fsb.data import feed
from fsb.networks.convolutions import convolve
from fsb.training.setup import assemble
from fsb.training.step import run_steps, step
from runs import assembled

COARSE = ("model=sresnet40", "model.dtype=bfloat16", "batch_size=16", "devices=1")
COARSE += ("model.widths=[4]", "model.stacks=[1]", "model.blocks=1", "model.stochastic=[]")


def lowered(parts, limit=2**30):
    """The program of a chunk of three steps, and its state; images of more bytes are streamed."""
    there = parts.recipe.layout.replicated
    like = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=there)
    state = jax.tree.map(like, parts.state_shapes())
    mesh, of = parts.recipe.layout, (parts.data.train, parts.key("order"), parts.batch_size, 3)
    with feed(*of, limit_bytes=limit, mesh=mesh) as batches:
        images, indices = batches(0, 3)
    return run_steps.lower(parts.recipe, state, images, indices, 3), state


def test_in_bfloat16_what_is_kept_and_summed_is_float32():
    (config,) = preflight("train", COARSE, Train)
    program, state = lowered(assemble(config))
    text = program.as_text()
    (head,) = re.findall(r"func public @main\((.*)\) -> \((.*)\) {", text)
    assert re.search(r"dot_general .*xbf16>\) -> tensor<[^>]*bf16>", text)
    assert "bf16" not in head[0] + head[1]  # parameters, the optimiser's state, the sum of losses
    sums = re.findall(r"applies stablehlo.add .* -> tensor<(?:[^>]*x)?(\w+)>", text)
    assert len(sums) > 10
    assert {*sums} == {"f32"}
    # what a bfloat16 sum would make 256 of, is summed in float32 within a product as well
    ones = jnp.ones((1, 1, 1, 4096), jnp.bfloat16)
    product = jax.jit(convolve)(ones, jnp.ones((1, 1, 4096, 1), jnp.bfloat16))
    assert product.dtype == jnp.bfloat16
    assert float(product.squeeze()) == 4096
    assert_stays_on_the_device(head[0], text, state)


def assert_stays_on_the_device(arguments, text, state):
    """Every leaf of the state is donated, and nothing else; nothing calls the host back."""
    donated = ["aliasing_output" in one or "donor" in one for one in arguments.split("%arg")[1:]]
    assert donated == [True] * len(jax.tree.leaves(state)) + [False] * 3
    assert not re.search("custom_call|infeed|outfeed|send|recv|callback", text)


def test_all_noise_is_folded_from_one_key():
    parts, _ = assembled()
    state = parts.state_shapes()
    traced = jax.make_jaxpr(step, static_argnums=0)(parts.recipe, state, parts.probe).jaxpr
    where = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    key, number = (traced.invars[where.index(name)] for name in (".key", ".step"))
    assert traced.outvars[where.index(".key")] is key  # of every step, and of its resumption
    (use,) = (one for one in traced.eqns if key in one.invars)
    assert use.primitive.name == "random_fold_in"
    made = {number, *(out for one in traced.eqns if number in one.invars for out in one.outvars)}
    assert use.invars[1] in made
    assert "random_seed" not in str(traced)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 2**30])
def test_devices_exchange_the_gradients_alone(limit):
    """Eight devices: one float32 sum a step, of every parameter and the loss; no images."""
    parts, _ = assembled("devices=8")
    program, state = lowered(parts, limit)
    text = program.compile().as_text()
    moved = re.findall(r"= (.*?) (all-\w+|reduce-scatter|collective-\w+|send|recv)\(", text)
    ((shapes, name),) = moved
    assert name == "all-reduce"
    kinds = re.findall(r"(\w+)\[([\d,]*)\]", shapes)
    assert {kind for kind, _ in kinds} == {"f32"}
    numbers = sum(math.prod(map(int, shape.split(","))) if shape else 1 for _, shape in kinds)
    assert numbers == sum(x.size for x in jax.tree.leaves(state.params)) + 1
