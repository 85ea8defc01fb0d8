"""Pipelines of Hugging Face's diffusers, loaded from a folder as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.hf_diffusers.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="hf_diffusers",
    summary="any diffusers folder (Stable Diffusion, SDXL, SD3, Flux, PixArt …), as it is",
    inputs=frozenset({"image", "mask"}),
    outputs=frozenset({Modality.IMAGE}),
    verbs=frozenset({Verb.GENERATE}),
    model="miaobi.models.hf_diffusers.model:Pipeline",
    schemas=_schemas,
    extra="hf",
    packages=("torch", "diffusers", "transformers"),
)
