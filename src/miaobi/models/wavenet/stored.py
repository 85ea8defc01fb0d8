"""What a WaveNet's folder says of itself, read without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.schema import validate
from miaobi.models.common.hub_format import read_config
from miaobi.models.wavenet.schema import Config

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def read(folder: Path) -> tuple[Config, tuple[str, ...]]:
    """The family's configuration, and the classes that it knows.

    Raises:
        ArtifactError: there is none, or it is of another family.
    """
    values = read_config(folder)
    try:
        return validate(Config, values["config"], "config.json"), tuple(map(str, values["classes"]))
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise ArtifactError("the configuration of the model in {folder} cannot be read: {error}", folder=folder, error=error) from None


def read_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """All weights in fp32.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    try:
        return {name: array.astype(np.float32) for name, array in load_file(folder / WEIGHTS).items()}
    except (OSError, SafetensorError, ValueError) as error:
        raise ArtifactError("the weights in {folder} cannot be read: {error}", folder=folder, error=error) from None
