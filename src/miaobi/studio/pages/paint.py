"""Paint: pictures from words, from another picture, or anew under a brush."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from miaobi.core.types import Modality
from miaobi.studio.pages.asking import Asking


class Paint(Asking):
    """Every model that makes pictures."""

    path = "paint"
    name = "Paint"
    about = "Pictures from words or from a picture; paint over what is to be made anew."
    modality = Modality.IMAGE
    prompt_label = "What to paint"
    prompt_hint = "一只红色的狐狸 · a red fox"
    go_label = "Paint"
    lines = 2
    usual: ClassVar[Mapping[str, Any]] = {"n": 4, "style": "fluent-3d"}
    first = ("painter",)
    use = True
