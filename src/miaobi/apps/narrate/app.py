"""The app `narrate`: a text file becomes a labelled sound, however long, with chapters, and its words and their times beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.apps import App
from miaobi.core.types import Modality

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schema() -> type[Schema]:
    from miaobi.apps.narrate.schema import Inputs

    return Inputs


APPS = (
    App(
        name="narrate",
        summary="read a text of any length aloud, with chapters and subtitles",
        outputs=frozenset({Modality.AUDIO}),
        schema=_schema,
        run="miaobi.apps.narrate.run:run",
        again="miaobi.apps.common.redone:again",
    ),
)
