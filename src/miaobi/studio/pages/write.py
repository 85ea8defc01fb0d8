"""Write: texts as they come, versions side by side, the better one chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from miaobi.core.types import Modality
from miaobi.serve.pool import Served
from miaobi.studio.pages.asking import Asking


class Write(Asking):
    """Every model whose answers are texts, but those that listen: these are on the page of speech."""

    path = "write"
    name = "Write"
    about = "Poems and texts, several versions side by side."
    modality = Modality.TEXT
    prompt_label = "What to write about"
    prompt_hint = "中秋月夜 · a rainy harbour at night"
    go_label = "Write"
    usual: ClassVar[Mapping[str, Any]] = {"n": 2}
    first = ("poet", "rhymer")

    def fits(self, served: Served) -> bool:
        """See `Asking`."""
        return Modality.TEXT in served.outputs and "sound" not in served.inputs
