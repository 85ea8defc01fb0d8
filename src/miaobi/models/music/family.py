"""Music as events: melodies in a key, a mode and a metre, and four-part harmony, from one decoder-only Transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.music.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="music",
    summary="tunes and four-part harmony: key, mode, metre and length kept by constraints on decoding",
    outputs=frozenset({Modality.MUSIC}),
    verbs=frozenset({Verb.TRAIN, Verb.ADAPT, Verb.GENERATE, Verb.SCORE, Verb.EXPORT}),
    model="miaobi.models.music.model:Music",
    runtime="miaobi.models.music.runtime:MusicRuntime",
    schemas=_schemas,
    tiny={"width": 32, "layers": 2, "heads": 2, "context": 256},
    metrics={
        name: f"miaobi.engine.metrics.music:{name}"
        for name in ("bits_per_event", "pitch_classes", "intervals", "full_bars", "in_mode", "copied_span")
    },
    inputs=frozenset({"music"}),
    extra="train",
    packages=("torch", "symusic"),
)
