"""What an app will ask of a model, looked at before other work is done for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from miaobi.core.apps import Desk
from miaobi.core.artifact import open_artifact
from miaobi.core.errors import MiaobiError
from miaobi.core.families import family
from miaobi.core.shelf import find


def check(desk: Desk, model: str, options: Mapping[str, Any]) -> None:
    """Load the model and refuse options that it would refuse later.

    Raises:
        UsageError: an unknown model, option, voice, style or form.
        MissingExtra: a package of the model is not installed.
    """
    desk.load(model)
    try:
        artifact = open_artifact(find(model))
    except MiaobiError:
        return  # a model of the desk's own, which tells when it is asked
    family(artifact.family).check_options(artifact.folder, options)
