"""Tacotron 2 (Shen et al., 2018): characters, pinyin or phonemes to a mel spectrogram, which a vocoder makes heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.tacotron.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="tacotron",
    summary="text to speech by attention: characters, pinyin or phonemes to a spectrogram, heard through Griffin-Lim or a wavenet",
    outputs=frozenset({Modality.AUDIO}),
    verbs=frozenset({Verb.TRAIN, Verb.GENERATE}),
    model="miaobi.models.tacotron.model:Tacotron",
    runtime="miaobi.models.tacotron.runtime:TacotronRuntime",
    graphless=True,
    schemas=_schemas,
    tiny={
        "rate": 4000,
        "mel": {"bands": 16, "window": 256, "hop": 100},
        "width": 32,
        "attention_width": 16,
        "location_filters": 4,
        "prenet_width": 16,
        "decoder_width": 32,
        "postnet_width": 16,
        "postnet_layers": 2,
        "reduction": 2,
    },
    metrics={
        "mel_error": "miaobi.engine.metrics.speech:mel_error",
        "mel_cepstral_distortion": "miaobi.engine.metrics.speech:mel_cepstral_distortion",
        "alignment": "miaobi.models.tacotron.metrics:alignment",
        "word_error": "miaobi.engine.metrics.recognition:word_error",
        "pinyin_error": "miaobi.engine.metrics.recognition:pinyin_error",
    },
    extra="train",
    packages=("torch",),
)
