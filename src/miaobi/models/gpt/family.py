"""Decoder-only Transformer language models: GPT-2, Llama, Qwen and their kin by configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.gpt.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="gpt",
    summary="decoder-only Transformer language model (GPT-2, Llama, Qwen2, Qwen3, SmolLM)",
    outputs=frozenset({Modality.TEXT}),
    verbs=frozenset({Verb.TRAIN, Verb.ADAPT, Verb.GENERATE, Verb.SCORE, Verb.EXPORT}),
    model="miaobi.models.gpt.model:GPT",
    runtime="miaobi.models.gpt.runtime:GPTRuntime",
    schemas=_schemas,
    tiny={"width": 32, "layers": 2, "heads": 2, "context": 64},
    extra="train",
    packages=("torch",),
)
