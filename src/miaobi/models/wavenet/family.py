"""WaveNet (van den Oord et al., 2016): sounds sample by sample, from nothing, by class, or from a mel spectrogram as a vocoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.wavenet.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="wavenet",
    summary="sounds sample by sample: effects by class, or the vocoder that turns a mel spectrogram into speech",
    outputs=frozenset({Modality.AUDIO}),
    verbs=frozenset({Verb.TRAIN, Verb.GENERATE, Verb.SCORE}),
    model="miaobi.models.wavenet.model:WaveNet",
    runtime="miaobi.models.wavenet.runtime:WaveNetRuntime",
    graphless=True,
    schemas=_schemas,
    tiny={"rate": 4000, "width": 8, "skip": 16, "depth": 4, "stacks": 1, "crop": 400, "conditions": ["class"]},
    metrics={
        "bits_per_dimension": "miaobi.engine.metrics.likelihood:bits_per_dimension",
        "mel_error": "miaobi.engine.metrics.speech:mel_error",
        "mel_cepstral_distortion": "miaobi.engine.metrics.speech:mel_cepstral_distortion",
    },
    inputs=frozenset({"sound"}),
    extra="train",
    packages=("torch",),
)
