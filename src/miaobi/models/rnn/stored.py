"""The family's files: `config.json`, `model.safetensors` with torch's names of the cells, and `tokenizer.json`."""

from __future__ import annotations

import json
from pathlib import Path

from miaobi.core.artifact import write_text
from miaobi.core.schema import validate
from miaobi.models.common.hub_format import read_config
from miaobi.models.rnn.family import FAMILY
from miaobi.models.rnn.schema import Config

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def write_shape(config: Config, folder: Path) -> None:
    """Write `config.json`."""
    write_text(folder / CONFIG, json.dumps({"model_type": FAMILY.name, **config.model_dump()}, indent=2) + "\n")


def read_shape(folder: Path) -> Config:
    """What `write_shape` wrote.

    Raises:
        ArtifactError: there is no such file, or it is not JSON.
        UsageError: a key or value that no configuration has.
    """
    values = read_config(folder)
    return validate(Config, {key: value for key, value in values.items() if key != "model_type"}, str(folder / CONFIG))
