"""What a generator's folder says of itself, read without torch."""

from __future__ import annotations

from pathlib import Path

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.schema import validate
from miaobi.models.common.hub_format import read_config
from miaobi.models.gan.schema import Config


def read(folder: Path) -> tuple[Config, tuple[str, ...]]:
    """The family's configuration, and the classes of a conditional model.

    Raises:
        ArtifactError: there is none, or it is of another family.
    """
    values = read_config(folder)
    try:
        return validate(Config, values["config"], "config.json"), tuple(map(str, values["classes"]))
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise ArtifactError("the configuration of the model in {folder} cannot be read: {error}", folder=folder, error=error) from None
