"""What the file is called that an app makes of another one, where nobody says."""

from __future__ import annotations

from pathlib import Path

from miaobi.core.apps import App
from miaobi.core.types import Modality
from miaobi.trust import media

USUAL = {Modality.VIDEO: ".mp4", Modality.AUDIO: ".wav"}  # of an app that makes both, the first


def ending(app: App, source: Path) -> str:
    """That of the source, where it is a sound or a film like what the app makes; else the usual one; `.json` of an app that only tells."""
    made = [usual for modality, usual in USUAL.items() if modality in app.outputs]
    if not made:
        return ".json"
    return source.suffix if media.is_ours(source) else made[0]
