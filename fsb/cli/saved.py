"""The configuration that a run wrote, read as if a stranger had written it."""

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

MAX_CONFIG_BYTES = 1 << 16
MAX_CONFIG_DEPTH = 50
RENAMED = {
    "fsb.log.no_logger": "fsb.storage.loggers.no_logger",
    "fsb.log.wandb_logger": "fsb.storage.loggers.wandb_logger",
}
"""What factories were called in runs of older versions, and are called now."""


def load_run_config(folder: str | Path, schema: Any, modules: Iterable[str] = ()) -> DictConfig:
    """The configuration that a run wrote, checked as if a stranger had written it.

    It is plain data: no interpolation is resolved, no alias expanded, no Python object made. It
    may name only factories of this library and of ``modules``; what it says of modules itself is
    ignored.

    Args:
      folder: a run folder, which holds config.yaml.
      schema: a dataclass of its keys.
      modules: the user's own modules, from the command line.

    Raises:
      FsbError: the file is not there, too large, not such a configuration, or names what it may
        not.
    """
    path = Path(folder) / "config.yaml"
    if not path.is_file():
        if not path.parent.is_dir():
            raise FsbError(f"run folder {folder}: does not exist")
        raise FsbError(f"run folder {folder}: holds no config.yaml")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        if len(text) > MAX_CONFIG_BYTES:
            raise FsbError(f"{path}: is larger than {MAX_CONFIG_BYTES} bytes, not a configuration")
        if not _harmless(text):
            raise FsbError(
                f"{path}: holds an interpolation, an alias or nesting that no run writes"
            )
        config = OmegaConf.load(io.StringIO(text))
    except FsbError:  # a ValueError too
        raise
    except (OSError, yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
        raise FsbError(f"{path}: {cause(error)}") from None
    if not isinstance(config, DictConfig):
        raise FsbError(f"{path}: is not a group of keys")
    config.modules = list(modules)
    for node in config.values():
        if isinstance(node, DictConfig) and node.get("_target_") in RENAMED:
            node["_target_"] = RENAMED[node["_target_"]]
    try:
        return checked(config, schema)
    except FsbError as error:
        raise FsbError(f"{path}: {error}") from None


def _harmless(text: str) -> bool:
    """Whether YAML holds only plain data, in an amount that its length bounds."""
    starts = (
        yaml.BlockMappingStartToken,
        yaml.BlockSequenceStartToken,
        yaml.FlowMappingStartToken,
        yaml.FlowSequenceStartToken,
    )
    ends = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
    depth = 0
    for token in yaml.scan(text):
        depth += isinstance(token, starts) - isinstance(token, ends)
        if depth > MAX_CONFIG_DEPTH or isinstance(token, yaml.AliasToken):
            return False
    return "${" not in text
