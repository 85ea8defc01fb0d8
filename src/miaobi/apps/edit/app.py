"""The apps behind `miaobi edit`: cuts, trim, highlight, dub, subtitle, describe."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from miaobi.core.apps import App
from miaobi.core.types import Modality

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


AGAIN = "miaobi.apps.common.redone:again"


def _schema(name: str) -> type[Schema]:
    from miaobi.apps.edit import schema

    found: type[Schema] = getattr(schema, name)
    return found


def _app(name: str, summary: str, outputs: set[Modality], inputs: str, packages: tuple[str, ...] = ("av",)) -> App:
    schema: Callable[[], type[Schema]] = partial(_schema, inputs)
    run = f"miaobi.apps.edit.{name}:run"
    return App(
        name=name, summary=summary, outputs=frozenset(outputs), schema=schema, run=run, extra="video", packages=packages, again=AGAIN
    )


_SEES = ("av", "scenedetect")
APPS = (
    _app("cuts", "find where the shots of a film begin and end", {Modality.TEXT}, "Cuts", _SEES),
    _app("trim", "take silences out of a film or a sound", {Modality.VIDEO, Modality.AUDIO}, "Trim"),
    _app("highlight", "the liveliest moments of a film, as long as wanted", {Modality.VIDEO}, "Highlight", _SEES),
    _app("dub", "a new narration for a film, from a transcript with times", {Modality.VIDEO}, "Dub"),
    _app("subtitle", "subtitles for a film, as files and in its pictures", {Modality.VIDEO, Modality.TEXT}, "Subtitle"),
    _app("describe", "a caption for every shot of a film", {Modality.TEXT}, "Describe", _SEES),
)
