"""The app `create`: from one brief a poem, pictures, music, a voice, a short film and a page; offline, and every file with its label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.apps import App
from miaobi.core.types import Modality

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schema() -> type[Schema]:
    from miaobi.apps.create.schema import Inputs

    return Inputs


APPS = (
    App(
        name="create",
        summary="make a poem, pictures, music, a voice, a short film and a page from one brief",
        outputs=frozenset({Modality.TEXT, Modality.IMAGE, Modality.MUSIC, Modality.AUDIO, Modality.VIDEO}),
        schema=_schema,
        run="miaobi.apps.create.run:run",
        extra="create",
        again="miaobi.apps.create.again:again",
    ),
)
"""What the registry shows; what needs a package that is missing is left out of the work, and said."""
