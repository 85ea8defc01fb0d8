"""What a person may ask of a diffusers pipeline (`Options`). What it is made of (`Config`) the folder's own files say."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from miaobi.core.schema import Schema


class Config(Schema):
    """Nothing: a pipeline is loaded, not made."""


class Options(Schema):
    """What a person may ask. What is left out, the pipeline itself recommends.

    A start picture is the part `image` of the request, and `mask` is white where it is painted anew.
    """

    n: int = Field(1, ge=1, le=256, strict=True)
    """How many pictures."""
    negative: str = Field("", max_length=1000)
    """What should not be in the picture."""
    steps: int = Field(30, ge=1, le=1000, strict=True)
    """Passes of the network; more are finer, up to a point."""
    guidance: float | None = Field(None, ge=0, le=50)
    """How strongly the prompt pulls: 1 is as learned, 3 to 6 usual."""
    sampler: str = Field("auto", max_length=64)
    """The scheduler: ddim, euler, euler-ancestral, heun, dpmpp-2m …, of flows flow-euler, flow-heun … (a wrong one lists the fitting)."""
    width: int = Field(0, ge=0, le=8192)
    """Of the picture in pixels; 0 is the start picture's, or what the pipeline was trained at."""
    height: int = Field(0, ge=0, le=8192)
    """Of the picture in pixels; 0 is the start picture's, or what the pipeline was trained at."""
    strength: float = Field(0.7, gt=0, le=1)
    """With a start picture: how much of it may change; 1 is everything."""
    lora: str = Field("", max_length=4096)
    """A .safetensors file of low-rank additions to the weights."""
    lora_strength: float = Field(1.0, ge=-4, le=4)
    """How much they count."""
    previews: bool = False
    """Show the picture while it emerges."""
    batch: int = Field(4, ge=1, le=256)
    """How many pictures are made side by side; fewer need less memory."""
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    """Numbers of the weights: fp32 on a CPU and fp16 on a GPU when auto."""
    slicing: bool = False
    """Attention and decoding in slices: slower, with less memory."""
    tiling: bool = False
    """Decode large pictures tile by tile: with less memory."""
    offload: Literal["none", "model", "layers"] = "none"
    """On a GPU: keep parts of the pipeline in main memory until they are needed, model by model or layer by layer."""
