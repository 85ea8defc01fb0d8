"""The app `film`: a timeline in YAML becomes a labelled film, with its subtitles beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.apps import App
from miaobi.core.types import Modality

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schema() -> type[Schema]:
    from miaobi.apps.film.schema import Inputs

    return Inputs


APPS = (
    App(
        name="film",
        summary="render a timeline: pictures, clips, words, narration and music become a film",
        outputs=frozenset({Modality.VIDEO}),
        schema=_schema,
        run="miaobi.apps.film.run:run",
        extra="video",
        packages=("av",),
        again="miaobi.apps.common.again:again",
    ),
)
