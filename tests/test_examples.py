"""Every example learns, is short, and is in the gallery."""

import importlib
import re
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = {path.stem: path for path in (ROOT / "examples").glob("*.py")}
LEARNED = {  # steps, and the part of the first loss that the last may be
    "bfloat16": (60, 0.7),
    "binary_network": (60, 0.3),
    "binary_weights": (60, 0.5),
    "feature_selection": (200, 0.5),
    "many_seeds": (60, 0.7),
    "mixture_of_experts": (150, 0.2),
    "policy_gradient": (60, 0.6),
    "rssm": (30, 0.85),
    "sharded": (60, 0.7),
    "spiking": (60, 0.3),
    "vae_equinox": (60, 0.7),
    "vae_jax": (60, 0.7),
    "vae_linen": (60, 0.7),
    "vae_nnx": (60, 0.7),
    "vq_vae": (60, 0.7),
}


@pytest.fixture
def main(monkeypatch):
    """``main(name)`` is the function of that name in an example."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    with jax.numpy_rank_promotion("allow"):  # the default, which users have
        yield lambda name: importlib.import_module(name).main


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNED)
def test_an_example_learns(name, main, capsys):
    steps, most = LEARNED[name]
    losses = main(name)(steps)
    assert len(losses) == steps
    assert losses[-1] < most * losses[0]
    *progress, result = capsys.readouterr().out.splitlines()
    assert all(line.startswith("step ") for line in progress)
    assert result


@pytest.mark.slow
def test_the_number_of_devices_does_not_matter(main):
    sharded = main("sharded")
    assert jax.device_count() == 8
    assert sharded(10, 8) == pytest.approx(sharded(10, 1), rel=1e-4)


@pytest.mark.slow
def test_the_relevant_features_are_found(main, capsys):
    main("feature_selection")()
    assert capsys.readouterr().out.endswith("relevant features: [3, 11, 24, 30, 47]\n")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_tested_short_and_linked(name):
    assert name in LEARNED
    assert len(EXAMPLES[name].read_text().splitlines()) <= 120
    gallery = (ROOT / "docs/examples/README.md").read_text()
    assert re.search(rf"\[[^]]+\]\(../../examples/{name}\.py\)", gallery)
