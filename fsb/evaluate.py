"""python -m fsb.evaluate run=FOLDER: bounds, KL and images of a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from fsb.cli.program import program
from fsb.cli.schema import Evaluate
from fsb.errors import FsbError
from fsb.runtime.xla import compilation_cache
from fsb.storage.atomic import write_json_atomic
from fsb.storage.checkpoints import Checkpoints
from fsb.storage.provenance import factory_name, provenance
from fsb.training import evaluation, images
from fsb.training.results import bits, bounds, variables
from fsb.training.setup import Parts, reopen

WHICH = {"last": "latest", "best": "best"}


def check(config: DictConfig) -> tuple[DictConfig, Parts]:
    """Opens the run, so that one that cannot be evaluated is refused at the start."""
    saved, parts = reopen(config.run, config.devices, config.data_root, config.modules)
    if not Checkpoints(Path(config.run) / "checkpoints").steps():
        raise FsbError(f"{config.run}: it holds no checkpoint yet")
    return saved, parts


@program("evaluate", Evaluate, check)
def main(config: DictConfig, checked: Any) -> None:
    """Evaluate a run; the numbers and images go into its folder, under evaluation/."""
    compilation_cache(config.compilation_cache)
    saved, parts = checked or check(config)
    folder = Path(config.run)
    checkpoints = Checkpoints(folder / "checkpoints")
    state, step = checkpoints.restore(parts.first_state(), WHICH[config.checkpoint])
    parts = parts._replace(seed=config.seed)
    title = f"{parts.data.name} {factory_name(saved.estimator)}, step {step}, {config.split}"
    now = variables(parts, state, config.batch_size)
    numbers = results(parts, now, config)
    home = folder / "evaluation" / f"{config.split}_{step}"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FsbError(f"cannot make the folder {home}: {error.strerror}") from error
    record = {"step": step, "split": config.split, "seed": config.seed}
    write_json_atomic(home / "evaluation.json", record | numbers | provenance())
    images.save(parts, now, home, title, config.split)
    print(title)
    for name, value in numbers.items():
        print(f"{name:>16}  {value:.4f}" if isinstance(value, float) else f"{name:>16}  {value}")
    print(home)


def results(parts: Parts, now: Any, config: DictConfig) -> dict[str, Any]:
    """ELBO, KL and active units per layer, K-sample bounds, and bits/dim where they apply."""
    stored = getattr(parts.data, config.split)
    batch = min(config.batch_size, len(stored))
    found = evaluation.evaluate(parts.recipe, now, stored, parts.key("evaluation"), batch)
    return {
        "images": len(stored),
        **found,
        **bits(parts, found["elbo"], "bits_per_dim"),
        **bounds(parts, now, config.bound_samples, config.split, batch),
    }


if __name__ == "__main__":
    main()
