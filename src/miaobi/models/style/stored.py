"""What a style model's folder says of itself, read without torch."""

from __future__ import annotations

from pathlib import Path

from miaobi.core.artifact import read_json
from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.schema import validate
from miaobi.models.style.schema import Config

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def read(folder: Path) -> tuple[Config, tuple[str, ...]]:
    """The configuration, and the names of the styles.

    Raises:
        ArtifactError: there is none, or it is damaged.
    """
    path = folder / CONFIG
    values = read_json(path)
    try:
        return validate(Config, values["config"], str(path)), tuple(str(name) for name in values["styles"])
    except (KeyError, TypeError, UsageError) as error:
        raise ArtifactError("{path} cannot be read ({error})", path=path, error=error) from None
