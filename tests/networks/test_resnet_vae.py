"""S-ResNets: the shipped ones by their counts, a tiny one against its enumeration in NumPy."""

from __future__ import annotations

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from small import start

from fsb import FsbError, foust, value_and_grad
from fsb.cli.factory import build
from fsb.cli.program import preflight
from fsb.cli.schema import Train
from fsb.networks import BernoulliLikelihood, GaussianLikelihood, sresnet
from fsb.networks.blocks import residual
from fsb.networks.convolutions import convolve, spread
from fsb.networks.summary import summary
from fsb.objectives import elbo
from fsb.sites import ancestral, collect_sites, replay

from by_hand import ByHand, log_bernoulli  # isort: skip

GAUSSIAN = GaussianLikelihood()


def evidence_at(model, variables, x, sampler):
    return collect_sites(lambda sample: model.apply(variables, x, sample), sampler)


# The shipped nets, and the table of what the paper says of them.


def shipped(name, shape, **changes):
    overrides = [f"model.{key}={value}" for key, value in changes.items()]
    (config,) = preflight("train", [f"model={name}", *overrides], Train)
    return build(config, "model", shape, GAUSSIAN)


def parameters(widths, stacks, tops, size, colours=3):
    """Those of both sides, in the order of the paper's table: blocks, stochastic layers, ends.

    ``tops``: channels of the stochastic layers; ``size``: of the image after the last one.
    """
    norm = lambda channels: 2 * channels
    total, below = 0, widths[0]
    for width, count in zip(widths, stacks, strict=True):
        for block in range(2 * count):
            first = below if block == 0 else width
            encoder = 9 * first * width + 9 * width**2 + 2 * norm(width)
            decoder = 9 * width**2 + 9 * width * first + norm(width) + norm(first)
            if first != width:
                encoder += first * width + norm(width)
                decoder += first * width + norm(first)
            total += encoder + decoder
        below = width
    stem = 9 * colours * widths[0] + norm(widths[0])
    head = 9 * widths[0] * 2 * colours + 2 * colours
    return total + stem + head + tops + size**2 * widths[-1]


def ones(width, to=None):
    """A 1 x 1 convolution with its bias."""
    to = to or width
    return width * to + to


# sresnet80: up, every layer from its own map; down, to the map below: 32 32 64 64 128 128 ... 256.
TOPS = {
    "sresnet80": 2 * ones(32) + 2 * ones(64) + 3 * ones(128) + 4 * ones(256)
    + 2 * ones(32) + 2 * ones(64) + 3 * ones(128) + 3 * ones(256),
    "sresnet40": ones(400) + ones(800) + ones(400),
    "sresnet_cifar_a": ones(64) + ones(128) + 2 * ones(256) + ones(64) + ones(128) + ones(256),
    "sresnet_cifar_b": ones(64) + ones(128) + 3 * ones(256) + ones(64) + ones(128) + 2 * ones(256),
}  # fmt: skip
TABLE = {
    # widths, stacks, image, deterministic, stochastic, bits, about so many parameters (paper's sum)
    "sresnet80": ((32, 64, 128, 256), (2, 2, 3, 3), 64, 80, 11, 557_056, 18e6),
    "sresnet40": ((100, 200, 400, 800), (1, 1, 1, 2), 64, 40, 2, 153_600, 102e6),
    "sresnet_cifar_a": ((64, 128, 256), (1, 1, 1), 32, 24, 4, 131_072, 5.9e6),
    "sresnet_cifar_b": ((64, 128, 256), (1, 1, 1), 32, 24, 5, 147_456, 5.9e6),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n == "sresnet_cifar_a" else pytest.mark.slow) for n in TABLE],
)
def test_the_shipped_nets(name):
    widths, stacks, image, deterministic, stochastic, bits, about = TABLE[name]
    model = shipped(name, (image, image, 3))
    count = parameters(widths, stacks, TOPS[name], 8)
    assert count == pytest.approx(about, rel=0.03)
    assert summary(model, (image, image, 3)) == (
        f"{count:,} parameters, {deterministic} deterministic and {stochastic} stochastic layers, "
        f"{bits:,} stochastic bits an image"
    )
    assert model.maps[-1] == (8, 8, widths[-1])
    assert sum(map(len, model.segments)) == 2 * sum(stacks)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "top"),
    [
        ("sresnet_cifar_b", (32, 32, 3), (8, 8)),
        ("sresnet40", (84, 84, 3), (11, 11)),
        pytest.param("sresnet80", (64, 64, 3), (8, 8), marks=pytest.mark.slow),
        ("sresnet_cifar_a", (29, 30), (8, 8)),
    ],
)
def test_shapes(name, shape, top, key):
    model = shipped(name, shape)
    x = jax.ShapeDtypeStruct((2, *shape), "float32")
    variables = jax.eval_shape(lambda k, x: model.init(k, x, mean_of), key, x)
    run = lambda v, x, k: evidence_at(model, v, x, ancestral(k))
    evidence, sites = jax.eval_shape(run, variables, x, key)
    assert evidence.mean.shape == (2, *shape)
    for term in (evidence.likelihood, *evidence.prior, *evidence.entropy, *evidence.posterior):
        assert term.shape == (2,)
    assert [site.name for site in sites] == [f"z{i + 1}" for i in range(len(model.maps))]
    assert [site.z.shape for site in sites] == [(2, *units) for units in model.maps]
    assert model.maps[-1][:2] == top
    generate = lambda v, k: model.apply(v, k, 7, method="generate")
    assert jax.eval_shape(generate, variables, key).shape == (7, *shape)


def mean_of(name, dist, eta):
    return dist.mean(eta)


# Convolutions.


def conv_by_hand(x, kernel, stride=1):
    size, (batch, height, width, _) = len(kernel), x.shape
    out = np.zeros((batch, -(-height // stride), -(-width // stride), kernel.shape[-1]))
    for i, j, k, m in np.ndindex(*out.shape[1:3], size, size):
        row, column = stride * i + k - size // 2, stride * j + m - size // 2
        if 0 <= row < height and 0 <= column < width:
            out[:, i, j] += x[:, row, column] @ kernel[k, m]
    return out


def transposed_by_hand(x, kernel, height, width):
    """Every pixel of x gives to the neighbourhood of its place, two pixels from the next one's."""
    size, stride = len(kernel), 1 if x.shape[1:3] == (height, width) else 2
    out = np.zeros((len(x), height, width, kernel.shape[-1]))
    for i, j, k, m in np.ndindex(*x.shape[1:3], size, size):
        row, column = stride * i + size // 2 - k, stride * j + size // 2 - m
        if 0 <= row < height and 0 <= column < width:
            out[:, row, column] += x[:, i, j] @ kernel[k, m]
    return out


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize(("height", "width", "stride"), [(6, 5, 1), (6, 5, 2)])
def test_convolutions(backend, height, width, stride, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, height, width, 3)), rng.normal(size=(3, 3, 3, 4))
    found = convolve(jnp.float32(x), jnp.float32(kernel), stride)
    np.testing.assert_allclose(found, conv_by_hand(x, kernel, stride), atol=1e-5)
    up = rng.normal(size=found.shape)
    back = convolve(spread(jnp.float32(up), (height, width)), jnp.float32(kernel[..., :1, :].mT))
    expected = transposed_by_hand(up, kernel[..., :1, :].mT, height, width)
    np.testing.assert_allclose(back, expected, atol=1e-5)


# A tiny net of 12 latent bits: z_1, a block, z_2 and z_3, of four units each.

SHAPE = (8, 8)
TINY = {"widths": (4, 2, 1), "stacks": (1, 1, 2), "blocks": 1, "stochastic": (3, 4)}
MODEL = sresnet(SHAPE, BernoulliLikelihood(), **TINY, low=-0.5)


class ResNetByHand(ByHand):
    """``ByHand`` of the tiny net: states of a layer [16, 2, 2, 1], listed as [16, 4]."""

    def __init__(self, model, variables, x):
        plain = jax.tree.map(lambda a: np.asarray(a, np.float64), variables)
        self.model, self.params = model, plain["params"]
        self.mean, self.x = plain["constants"]["mean"].ravel(), np.float64(x).ravel()
        self.bits = np.array(list(itertools.product((0, 1), repeat=4)))
        self.z = model.latent.low + model.latent.span * self.bits
        self.layers = range(3)

    def normed(self, weights, y):
        if "scale" not in weights:
            return y + weights["bias"]
        batch, *_, channels = y.shape
        groups = np.gcd(channels, 8)
        rows = y.reshape(batch, -1, groups, channels // groups).swapaxes(1, 2)
        rows = rows.reshape(batch, groups, -1)
        rows = (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + 1e-6)
        rows = rows.reshape(batch, groups, -1, channels // groups).swapaxes(1, 2)
        return rows.reshape(y.shape) * weights["scale"] + weights["bias"]

    def block(self, weights, x, first, second):
        h = np.maximum(self.normed(weights["first"], first(x, weights["first"]["kernel"])), 0)
        h = self.normed(weights["second"], second(h, weights["second"]["kernel"]))
        if "shortcut" in weights:
            change = first if first is not conv_by_hand else second
            x = self.normed(weights["shortcut"], change(x, weights["shortcut"]["kernel"]))
        return np.maximum(x + h, 0)

    def up(self, i, h):
        """Logits [B, units] of z_{i+1}: strides 1, 2, 2 to z_1, 1 to z_2, no block to z_3."""
        weights = self.params[f"up_{i}"]
        if i == 0:
            h = self.normed(weights["stem"], conv_by_hand(h, weights["stem"]["kernel"]))
            h = np.maximum(h, 0)
        for k, stride in enumerate([(1, 2, 2), (1,), ()][i]):
            h = self.block(
                weights[f"block_{k}"], h, partial(conv_by_hand, stride=stride), conv_by_hand
            )
        out = self.normed(weights["eta"], conv_by_hand(h, weights["eta"]["kernel"]))
        return out.reshape(len(h), -1)

    def down(self, i):
        """From every state of z_{i+1}, to images of sizes (4, 8, 8) below z_1, 2 below z_2."""
        weights, h = self.params[f"down_{i}"], self.z.reshape(16, 2, 2, 1)
        for k, size in reversed(list(enumerate([(8, 8, 4), (2,), ()][i]))):
            spread_to = partial(transposed_by_hand, height=size, width=size)
            h = self.block(weights[f"block_{k}"], h, conv_by_hand, spread_to)
        out = self.normed(weights["out"], conv_by_hand(h, weights["out"]["kernel"]))
        return out.reshape(16, -1)

    def posteriors(self):
        states = self.z.reshape(16, 2, 2, 1)
        image = (self.x - self.mean).reshape(1, 8, 8, 1)
        logits = [self.up(i, h) for i, h in enumerate([image, states, states])]
        p = [expit(a) for a in logits]
        entropies = [-(q * np.log(q) + (1 - q) * np.log1p(-q)).sum(-1) for q in p]
        return [log_bernoulli(a[:, None], self.bits[None]) for a in logits], entropies

    def priors(self):
        logits = [self.down(1), self.down(2), self.params["prior"]["logits"].reshape(1, -1)]
        return [log_bernoulli(a[:, None], self.bits[None]) for a in logits]

    def outputs(self):
        return (self.down(0) + np.log(self.mean / (1 - self.mean)))[..., None]


def random_variables(model):
    """To compile their initialisation would take seven seconds."""
    init = lambda key, x: model.init(key, x, mean_of)
    x = jax.ShapeDtypeStruct((1, *model.shape), "float32")
    rng = np.random.default_rng(0)
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: np.float32(rng.normal(0, 0.8, leaf.shape) + ("scale" in str(path))),
        jax.eval_shape(init, jax.random.key(0), x)["params"],
    )
    data_mean = np.float32(rng.uniform(0.2, 0.8, model.shape))
    return {"params": params, "constants": {"mean": data_mean}}


@pytest.fixture(scope="module")
def tiny():
    variables = random_variables(MODEL)
    x = jnp.float32(np.random.default_rng(1).integers(0, 2, SHAPE))
    return variables, x, ResNetByHand(MODEL, variables, x)


@pytest.mark.slow
def test_every_term_at_every_state(tiny):
    variables, x, by_hand = tiny
    index, (likelihood, prior, entropy, posterior) = by_hand.terms()
    states = by_hand.z.reshape(16, 2, 2, 1)
    values = {f"z{i + 1}": jnp.float32(states[index[:, i]]) for i in range(3)}
    many = jnp.broadcast_to(x[None], (len(index), *SHAPE))
    found, _ = jax.jit(lambda v: evidence_at(MODEL, v, many, replay(values)))(variables)
    close = partial(np.testing.assert_allclose, rtol=3e-4, atol=3e-4)
    close(found.likelihood, likelihood)
    for ours, theirs in zip(
        (*found.prior, *found.entropy, *found.posterior),
        (*prior, *entropy, *posterior),
        strict=True,
    ):
        assert theirs.std() > 0.03 or theirs is entropy[0]  # the layers do hear each other
        close(ours, theirs)
    close(found.mean.reshape(len(index), -1), by_hand.means()[index[:, 0]])
    weight = np.exp(sum(posterior))
    close(weight @ -np.float64(elbo()(found)), by_hand.elbo())


@pytest.mark.slow
def test_sampled_elbos_average_to_the_enumerated_one(tiny, key):
    variables, x, by_hand = tiny
    many = jnp.broadcast_to(x[None], (8000, *SHAPE))
    one = jax.jit(lambda v, k: elbo()(evidence_at(MODEL, v, many, ancestral(k))[0]))
    samples = -np.float64([one(variables, k) for k in jax.random.split(key, 3)]).ravel()
    error = samples.std() / np.sqrt(len(samples))
    assert abs(samples.mean() - by_hand.elbo()) < 4 * error < 0.02 * abs(by_hand.elbo())
    assert samples.std() > 0.05


@pytest.mark.slow
def test_generated_means_average_to_those_of_the_model(tiny, key):
    variables, _, by_hand = tiny
    generate = jax.jit(partial(MODEL.apply, method="generate"), static_argnums=2)
    samples = np.float64(generate(variables, key, 20_000)).reshape(20_000, -1)
    error = samples.std(0) / np.sqrt(len(samples)) + 1e-6
    assert (abs(samples.mean(0) - by_hand.generated_mean()) < 4.5 * error).all()
    assert error.max() < 0.02


def smallest(**changes):
    levels = {"widths": (2, 4), "stacks": (1, 1), "blocks": 1, "stochastic": ()}
    return sresnet((4, 4), BernoulliLikelihood(), **levels, **changes)


@pytest.mark.slow
def test_a_block_computed_anew_keeps_less_and_gives_the_same(key):
    x, g = jax.random.normal(key, (2, 4, 64, 64, 2))
    rng = np.random.default_rng(0)
    one = {"kernel": jnp.float32(rng.normal(size=(3, 3, 2, 2))), "bias": jnp.ones(2)}
    weights = {"first": one, "second": {**one, "group": jnp.ones(2)}}

    def three(remat):
        def chain(weights, x):
            for _ in range(3):
                x, _ = residual(weights, x, 1, None, remat)
            return x

        pull = lambda weights, x: jax.vjp(chain, weights, x)[1](g)
        return jax.jit(pull).lower(weights, x).compile()

    kept, anew = three(False), three(True)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-2),
        kept(weights, x),
        anew(weights, x),
    )
    kept, anew = (f.memory_analysis().temp_size_in_bytes for f in (kept, anew))
    assert anew < 0.7 * kept


@pytest.mark.slow
def test_rematerialised_blocks_give_the_same_value_and_gradients(key):
    variables, x = random_variables(smallest()), jnp.ones((3, 4, 4))

    def gradients(model, variables):
        def loss(params, sample):
            return elbo()(model.apply({**variables, "params": params}, x, sample))

        return value_and_grad(foust(), loss)(variables["params"], key)

    plain, again = (partial(gradients, smallest(remat=remat)) for remat in (False, True))
    found, found_again = jax.jit(lambda v: (plain(v), again(v)))(variables)
    assert found[0] == pytest.approx(float(found_again[0]), rel=1e-6)
    for name, grad in jax.tree_util.tree_leaves_with_path(found[1]):
        assert abs(grad).max() > 1e-4, name
    same = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(same, found[1], found_again[1])
    products = [str(jax.make_jaxpr(f)(variables)).count("dot_general") for f in (plain, again)]
    assert products[0] < products[1]


@pytest.mark.slow
def test_bfloat16_is_close_and_its_densities_are_float32():
    variables, rng = random_variables(smallest()), np.random.default_rng(0)
    x = jnp.float32(rng.integers(0, 2, (50, 4, 4)))
    values = {"z1": jnp.float32(rng.choice([-1, 1], (50, 2, 2, 4)))}
    fine, coarse = (
        lambda v, dtype=dtype: evidence_at(smallest(dtype=dtype), v, x, replay(values))
        for dtype in ("float32", "bfloat16")
    )
    assert "bf16" in str(jax.make_jaxpr(coarse)(variables))
    found, expected = jax.jit(lambda v: (coarse(v), fine(v)))(variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        error = np.subtract(ours, theirs)
        assert np.sqrt((error**2).mean()) < 0.02 * np.sqrt((theirs**2).mean())
    assert abs(np.subtract(found[1][0].eta, expected[1][0].eta)).max() > 1e-4


@pytest.mark.slow
def test_an_untrained_network_starts_at_the_data_mean():
    variables = start(MODEL, SHAPE)
    x = variables["constants"]["mean"][None]
    evidence, _ = evidence_at(MODEL, variables, x, ancestral(jax.random.key(1)))
    np.testing.assert_allclose(evidence.mean, x, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": (2, 2)}, r"model\.stacks=\[1, 1, 2\]: one number for each of model\.widths"),
        ({"blocks": 0}, "must be at least 1"),
        ({"stochastic": (5,)}, r"model\.stochastic=\[5\]: stacks in ascending order, of 1 to 4"),
        ({"stochastic": (2, 1)}, "ascending order"),
        ({"norm": "layer"}, r"model\.norm: unknown 'layer' \(choices: batch, group, none\)"),
        (
            {"prior": "autoregressive"},
            r"model\.prior: unknown 'autoregressive' .*learned, uniform\)",
        ),
        ({"dtype": "float16"}, r"model\.dtype: unknown 'float16'; did you mean .*float32\)"),
        ({"low": 1.0}, "low must be below high"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(FsbError, match=message) as caught:
        sresnet(SHAPE, BernoulliLikelihood(), **{**TINY, **arguments})
    assert "\n" not in str(caught.value)
    with pytest.raises(FsbError, match=r"images \[H, W\] or \[H, W, C\] are needed, not \[64\]"):
        sresnet((64,), BernoulliLikelihood())
