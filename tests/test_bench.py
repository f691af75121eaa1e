"""The benchmark measures what it says: the real step, the same step in PyTorch, the products."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from omegaconf import OmegaConf

from fsb import bench
from fsb.networks import BernoulliLikelihood, vae
from fsb.objectives import elbo
from fsb.sites import record, replay

TINY = OmegaConf.create({"steps": 2, "batch_size": 4, "layers": 2, "width": 8})


def test_the_products_are_those_of_the_network():
    variables = vae(bench.SHAPE, BernoulliLikelihood(), layers=3, width=8).init(
        jax.random.key(0), jnp.zeros((1, 28, 28)), lambda name, dist, eta: dist.mean(eta)
    )
    kernels = [x.shape for x in jax.tree.leaves(variables["params"]) if x.ndim == 2]
    assert sorted(bench.layer_sizes(OmegaConf.create({"layers": 3, "width": 8}))) == sorted(kernels)


def test_measure_takes_turns():
    calls = []
    variants = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    seconds = bench.measure(variants, rounds=3)
    assert calls == ["a", "a", "b", "b", *"ababab"]
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_the_program_saves_its_table(tmp_path, capsys):
    folder = tmp_path / "bench"
    sizes = [f"{key}={value}" for key, value in TINY.items()]
    bench.main([*sizes, "rounds=2", "torch=false", f"hydra.run.dir={folder}"])
    results = json.loads((folder / "results.json").read_text())
    assert [bound["what"] for bound in results["bounds"]] == [
        what for what, _, bottom, _ in bench.BOUNDS if bottom != "eager PyTorch"
    ]
    assert all(bound["ratio"] > 0 for bound in results["bounds"])
    lines = (folder / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + len(bench.VARIANTS) + 1
    assert "foust / st" in capsys.readouterr().out


def test_pytorch_has_the_same_loss():
    torch = pytest.importorskip("torch", reason="torch is a dependency of the benchmark alone")
    from fsb.bench_torch import VAE

    rng = np.random.default_rng(0)
    model = vae(bench.SHAPE, BernoulliLikelihood(), layers=2, width=8)
    x = rng.integers(0, 2, (4, 28, 28)).astype(np.float32)
    mean = rng.uniform(0.1, 0.9, (28, 28)).astype(np.float32)
    z = [rng.choice([-1.0, 1.0], (4, 8)).astype(np.float32) for _ in range(2)]
    params = model.init(jax.random.key(0), x, lambda name, dist, eta: dist.mean(eta))["params"]
    params = jax.tree.map(lambda p: rng.normal(0, 0.3, p.shape).astype(np.float32), params)
    variables = {"params": params, "constants": {"mean": mean}}

    def apply(sample):
        return elbo()(model.apply(variables, x, sample))

    expected, _ = record(apply, replay({"z1": z[0], "z2": z[1]}))

    twin = VAE(784, 2, 8, torch.from_numpy(mean.reshape(-1)))
    with torch.no_grad():
        twin.prior.copy_(torch.from_numpy(params["prior"]))
        for side in ("up", "down"):
            for number, net in enumerate(getattr(twin, side)):
                dense = [layer for layer in net if isinstance(layer, torch.nn.Linear)]
                for position, layer in enumerate(dense):
                    given = params[f"{side}_{number}"][f"Dense_{position}"]
                    layer.weight.copy_(torch.from_numpy(given["kernel"].T.copy()))
                    layer.bias.copy_(torch.from_numpy(given["bias"]))
        draws = iter(z)
        got = twin(torch.from_numpy(x.reshape(4, -1)), lambda eta: torch.from_numpy(next(draws)))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4)
