"""The benchmark measures what it says: the real step, the same step in PyTorch, the products."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from omegaconf import OmegaConf

import fsb
from fsb.bench import __main__ as program
from fsb.bench import step, tables, timing, variants
from fsb.gradients import value_and_grad
from fsb.networks import BernoulliLikelihood, vae
from fsb.objectives import elbo
from fsb.runtime.random import uniform
from fsb.sites import site_key

TINY = OmegaConf.create({"steps": 2, "batch_size": 4, "layers": 2, "width": 8})


@pytest.mark.slow
def test_the_products_are_those_of_the_network():
    variables = vae(variants.SHAPE, BernoulliLikelihood(), layers=3, width=8).init(
        jax.random.key(0), jnp.zeros((1, 28, 28)), lambda name, dist, eta: dist.mean(eta)
    )
    kernels = [x.shape for x in jax.tree.leaves(variables["params"]) if x.ndim == 2]
    assert sorted(variants.layer_sizes(OmegaConf.create({"layers": 3, "width": 8}))) == sorted(
        kernels
    )


def test_no_product_is_left_out():
    sizes = variants.layer_sizes(TINY)
    weights = tuple(jnp.ones(size) for size in sizes)
    loop = variants.products_loop.lower(weights, jnp.ones((4, 784)), 3).compile()
    everything = 3 * sum(map(math.prod, sizes)) - math.prod(sizes[0])  # x needs no derivative
    assert loop.cost_analysis()["flops"] == pytest.approx(2 * 4 * everything, rel=0.001)


def test_measure_takes_turns():
    calls = []
    three = {name: lambda name=name: calls.append(name) for name in "abc"}
    seconds = timing.measure(three, rounds=8)
    assert "".join(calls[:6]) == "aabbcc"
    rounds = ["".join(calls[6 + 3 * i : 9 + 3 * i]) for i in range(8)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in rounds)
    assert len(set(rounds)) > 2
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys("abc", 8)


def test_ratios_are_paired_within_a_round():
    slow = np.array([1.0, 10.0, 100.0, 1.0, 5.0])  # the machine
    seconds = {
        "st": slow,
        "foust": 1.02 * slow,
        "no sampling": slow / 1.2,
        "matrix products": slow * [0.8, 0.9, 0.7, 0.6, 0.9],
    }
    rows = {row["what"]: row for row in step.verdicts(seconds)}
    assert [rows[what]["met"] for what, *_ in step.BOUNDS] == [True, False, False, None]
    assert rows["foust / st"]["ratio"] == pytest.approx(1.02)
    products = rows["foust / matrix products alone"]
    quartiles = [products[name] for name in ("quartile_1", "ratio", "quartile_3")]
    assert quartiles == pytest.approx([1.02 / 0.9, 1.02 / 0.8, 1.02 / 0.7])
    speeds = {row["variant"]: row for row in step.speeds(seconds, steps=10)}
    assert speeds["foust"]["ms_per_step"] == pytest.approx(510)
    assert speeds["foust"]["steps_per_second"] == pytest.approx(1 / 0.51)
    text = tables.markdown({"bounds": list(rows.values())})
    assert "| NO " in text
    assert "needs torch" in text


@pytest.mark.slow  # it compiles seven steps
def test_the_program_saves_its_tables(tmp_path, capsys):
    folder = tmp_path / "bench"
    sizes = [f"{key}={value}" for key, value in TINY.items()]
    folder.mkdir()
    (folder / "results.csv").write_text("variant\nof another time\n")
    program.main([*sizes, "rounds=2", "torch=false", f"hydra.run.dir={folder}"])
    assert {path.name for path in folder.iterdir()} == {"results.csv", "results.json", "results.md"}
    results = json.loads((folder / "results.json").read_text())
    assert {"date", "device", "versions", "git_commit", "rounds", "width"} <= results.keys()
    assert [bound["what"] for bound in results["bounds"]] == [what for what, *_ in step.BOUNDS]
    assert all(bound["ratio"] > 0 for bound in results["bounds"][:3])
    assert results["bounds"][3]["met"] is None
    names = [*variants.VARIANTS, "matrix products"]
    assert [row["variant"] for row in results["variants"]] == names
    lines = (folder / "results.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["variant", *names]
    assert "foust / st" in capsys.readouterr().out


def test_pytorch_makes_the_same_step(monkeypatch):
    """Same parameters, same images, same noise: the same losses and the same gradients."""
    torch = pytest.importorskip("torch", reason="torch is a dependency of the benchmark alone")
    from fsb.bench.pytorch import VAE, FouST

    rng, key = np.random.default_rng(0), jax.random.key(5)
    model = vae(variants.SHAPE, BernoulliLikelihood(), layers=2, width=8)
    x = rng.integers(0, 2, (4, 28, 28)).astype(np.float32)
    mean = rng.uniform(0.1, 0.9, (28, 28)).astype(np.float32)
    params = model.init(jax.random.key(0), x, lambda name, dist, eta: dist.mean(eta))["params"]
    params = jax.tree.map(lambda p: rng.normal(0, 0.3, p.shape).astype(np.float32), params)

    def loss(params, sample):
        variables = {"params": params, "constants": {"mean": mean}}
        return elbo()(model.apply(variables, x, sample))

    value, grads = value_and_grad(fsb.foust(), loss)(params, key)

    twin = VAE(784, 2, 8, torch.from_numpy(mean.reshape(-1)))
    pairs = [(twin.prior, params["prior"]["logits"], grads["prior"]["logits"])]
    for side in ("up", "down"):
        for number, net in enumerate(getattr(twin, side)):
            dense = [layer for layer in net if isinstance(layer, torch.nn.Linear)]
            for position, layer in enumerate(dense):
                names = f"{side}_{number}", f"Dense_{position}"
                given, grad = (tree[names[0]][names[1]] for tree in (params, grads))
                pairs += [
                    (layer.weight, given["kernel"].T, grad["kernel"].T),
                    (layer.bias, given["bias"], grad["bias"]),
                ]
    assert len(pairs) == len(list(twin.parameters())) == len(jax.tree.leaves(params))
    for parameter, given, _ in pairs:
        parameter.data = torch.from_numpy(given.copy())
    noise = (np.array(uniform(site_key(key, name), (4, 8))) for name in ("z1", "z2"))
    monkeypatch.setattr(torch, "rand_like", lambda eta: torch.from_numpy(next(noise)))
    got = twin(torch.from_numpy(x.reshape(4, -1)), FouST.apply).mean()
    got.backward()
    assert got.item() == pytest.approx(float(value), rel=1e-5)
    for parameter, _, grad in pairs:
        np.testing.assert_allclose(parameter.grad.numpy(), grad, rtol=1e-3, atol=1e-4)
