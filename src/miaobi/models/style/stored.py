"""What a style model's folder says of itself, read without torch."""

from __future__ import annotations

import json
from pathlib import Path

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
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return validate(Config, values["config"], str(path)), tuple(str(name) for name in values["styles"])
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        raise ArtifactError("{path} cannot be read ({error})", path=path, error=error) from None
