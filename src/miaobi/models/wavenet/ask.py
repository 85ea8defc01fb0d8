"""What a person would have asked for a sound that exists: its class, or for a vocoder the sound itself; evaluation asks for these."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from miaobi.core.types import Media, Modality, Record, Request
from miaobi.models.wavenet.schema import Config


def request_for(config: Config, classes: Sequence[str], record: Record) -> Request | None:
    """The request; None when the model could not be asked for such a sound."""
    name = str(record.meta.get(config.field, "")) if classes else ""
    if classes and name not in classes:
        return None
    sounds = [part for part in record.parts if isinstance(part, Media) and part.modality is Modality.AUDIO]
    if "mel" not in config.conditions:
        return Request.of(name)
    return Request.of((name, dataclasses.replace(sounds[0], name="sound"))) if sounds else None
