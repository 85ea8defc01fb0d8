"""Open language models from a folder: GPT-2, Llama, Qwen, SmolLM and their kin in our own Transformer, all others through transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.hf_transformers.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="hf_transformers",
    summary="any open language model of transformers, or a GGUF file, as it is: conversations by its own chat template",
    outputs=frozenset({Modality.TEXT}),
    converses=True,
    verbs=frozenset({Verb.TRAIN, Verb.ADAPT, Verb.GENERATE, Verb.SCORE, Verb.EXPORT}),
    model="miaobi.models.hf_transformers.model:OpenModel",
    runtime="miaobi.models.hf_transformers.runtime:OpenRuntime",
    schemas=_schemas,
    tiny={
        "architecture": "llama",
        "values": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
        "context": 64,
    },
    extra="hf",
    packages=("torch", "transformers"),
)
