"""Compose: tunes as notes to look at and to hear."""

from __future__ import annotations

from miaobi.core.types import Modality
from miaobi.studio.pages.asking import Asking


class Compose(Asking):
    """Every model that makes music."""

    path = "compose"
    name = "Compose"
    about = "Tunes and harmony: look at the notes, listen, take them home as MIDI, MusicXML or a sound."
    modality = Modality.MUSIC
    prompt_label = "What it should be like"
    prompt_hint = "宁静的夜曲 · a merry jig in D"
    go_label = "Compose"
    lines = 2
    first = ("composer",)
