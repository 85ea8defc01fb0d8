"""Any OpenAI-compatible endpoint as a model: vLLM, SGLang, Ollama, llama.cpp, a provider, or another miaobi."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.remote.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="remote",
    summary="a model behind an OpenAI-compatible endpoint (vLLM, SGLang, Ollama, llama.cpp, a provider)",
    inputs=frozenset({"image"}),
    outputs=frozenset({Modality.TEXT}),
    converses=True,
    verbs=frozenset({Verb.GENERATE}),
    model="miaobi.models.remote.model:Remote",
    schemas=_schemas,
)
