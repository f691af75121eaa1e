"""The configuration in a run folder, read as if a stranger had written it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fsb.cli.compose import cause
from fsb.cli.factory import checked
from fsb.errors import FsbError
from fsb.storage.run_folder import require_own

MAX_CONFIG_BYTES = 1 << 16
MAX_CONFIG_DEPTH = 50
GIVE = "give the folder that the training printed, such as runs/DATE/TIME_digits_vae_foust"
RENAMED = {
    "fsb.log.no_logger": "fsb.storage.loggers.no_logger",
    "fsb.log.wandb_logger": "fsb.storage.loggers.wandb_logger",
}
"""The old names of factories, as older runs have them, and the new ones."""


def load_run_config(folder: str | Path, schema: Any, modules: Iterable[str] = ()) -> DictConfig:
    """Reads the configuration in a run folder, checked as if a stranger had written it.

    It is plain data: interpolations and aliases are refused, and no Python object is made. A key
    may name only factories of its kind and those of ``modules``; the ``modules`` in the file are
    ignored.

    Raises:
      FsbError: if there is no config.yaml, it is too large, does not fit ``schema``, or names what
        it may not; or if the folder has an entry that leads out of it.
    """
    path = Path(folder) / "config.yaml"
    if not path.parent.is_dir():
        raise FsbError(f"run folder {folder}: does not exist; {GIVE}")
    require_own(folder)
    if not path.is_file():
        raise FsbError(f"run folder {folder}: holds no config.yaml; {GIVE}")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        if len(text) > MAX_CONFIG_BYTES:
            raise FsbError(f"is larger than {MAX_CONFIG_BYTES} bytes, not a configuration")
        _require_bounded(text)
        config = OmegaConf.load(io.StringIO(text))
        if not isinstance(config, DictConfig):
            raise FsbError("is not a group of keys")
        values = _plain(OmegaConf.to_container(config, resolve=False))
        return checked(values | {"modules": list(modules)}, schema)
    except (OSError, yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
        raise FsbError(f"{path}: {cause(error)}") from None


def _require_bounded(text: str) -> None:
    """Refuses YAML whose aliases or nesting could describe more data than its length.

    Raises:
      FsbError: if there is an alias, or the nesting is too deep.
    """
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_CONFIG_DEPTH or isinstance(event, yaml.AliasEvent):
            raise FsbError("holds an alias or nesting that no run writes")


def _plain(value: Any) -> Any:
    """The data with the new names of factories; an interpolation is refused, not resolved."""
    if isinstance(value, dict):
        items = {_plain(key): _plain(item) for key, item in value.items()}
        target = str(items.get("_target_"))
        return items | {"_target_": RENAMED[target]} if target in RENAMED else items
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str) and "${" in value:
        raise FsbError("holds an interpolation, which no run writes")
    return value
