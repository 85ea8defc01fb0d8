"""Speak: words read aloud, sounds made, recordings written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from miaobi.core.errors import UsageError
from miaobi.core.types import Modality
from miaobi.serve.pool import Served
from miaobi.studio import cards
from miaobi.studio.pages.asking import RECENT, Asking


class Speak(Asking):
    """Every model that makes sounds, and those that listen."""

    path = "speak"
    name = "Speak"
    about = "Words read aloud, sounds of rain and bells, and recordings written down."
    modality = Modality.AUDIO
    prompt_label = "What to say, or which sound"
    prompt_hint = "床前明月光，疑是地上霜。 · rain and distant thunder"
    go_label = "Speak"
    lines = 5
    first = ("narrator", "effects", "ears")

    def fits(self, served: Served) -> bool:
        """See `Asking`."""
        return Modality.AUDIO in served.outputs or (Modality.TEXT in served.outputs and "sound" in served.inputs)

    def check(self, prompt: str, given: Mapping[str, Any]) -> None:
        """See `Asking`."""
        if not prompt.strip() and not given:
            raise UsageError("say what is to be heard, or give a sound to write down")

    def recent(self) -> list[cards.Card]:
        """Sounds, and what was written down."""
        from miaobi.library.store import Query

        heard = self.room.library.find(Query(modality=Modality.TEXT, model="ears"), limit=RECENT)
        said = self.room.library.find(Query(modality=self.modality), limit=RECENT)
        return cards.listed(sorted([*said, *heard], key=lambda kept: kept.kept, reverse=True)[:RECENT])
