"""What a verse model is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from miaobi.core.schema import Schema
from miaobi.engine.sampling.options import Sampling


class Config(Schema):
    """The Transformer's shape and the vocabulary's threshold."""

    width: int = Field(256, ge=8, le=4096)
    """Length of the vectors that a token is; a multiple of `heads`."""
    layers: int = Field(6, ge=1, le=64)
    """How many blocks of attention and feed-forward."""
    heads: int = Field(4, ge=1, le=64)
    """How many attentions a block has side by side."""
    key_heads: int = Field(0, ge=0, le=64)
    """0 is as many as `heads`."""
    hidden: int = Field(0, ge=0, le=16384)
    """0 is 8/3 of the width, rounded up to 32."""
    context: int = Field(256, ge=32, le=4096)
    """The most tokens that it sees at once."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the activations that training switches off."""
    min_count: int = Field(8, ge=1)
    """Characters that occur less often in the training split become the unknown token."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the probability that training spreads over all tokens."""
    stored: Literal["fp32", "fp16"] = "fp32"
    """The number format of the weights on disk."""


class Options(Sampling):
    """What a person may ask of a poem."""

    form: str = Field("七绝", json_schema_extra={"choices": "miaobi.models.verse.schema:form_names", "open": True})
    """五绝, 七绝, 五律, 七律, 古体, or the name of a ci tune such as 水调歌头."""
    title: str = Field("", max_length=64)
    """The prompt, when not given."""
    topic: str = Field("", max_length=64)
    """Words that should come up, separated by spaces or commas."""
    era: Literal["", "唐", "五代", "宋", "元", "清"] = ""
    """The dynasty whose style is wanted."""
    author: str = Field("", max_length=8)
    """The poet whose style is wanted."""
    first_line: str = Field("", max_length=32)
    """The poem begins with this line."""
    acrostic: str = Field("", max_length=32)
    """藏头: the first characters of the lines."""
    rhyme: Literal["pingshui", "xinyun", "none"] = "pingshui"
    """平水韵, 中华新韵, or no rule."""
    tone: Literal["strict", "loose", "none"] = "loose"
    """平仄: strict, with the freedom of 一三五不论, or no rule."""
    repeat: Literal["line", "character", "none"] = "character"
    """What may not come twice: a line, a character, or no rule."""
    free: bool = False
    """No rule at all: the model alone decides on lines, rhymes and tones. It shows what the model has learned."""
    candidates: int = Field(4, ge=1, le=16)
    """So many poems are written for each that is returned; the likeliest is kept."""
    original: bool = True
    """A poem that repeats a line of the training poems is written again."""
    temperature: float = Field(0.75, ge=0, le=10)
    """0 is greedy; higher is more varied."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Only the likeliest tokens that together have this probability (Holtzman et al. 2020)."""


def form_names() -> tuple[str, ...]:
    """Every form that can be asked for."""
    from miaobi.models.verse import forms
    from miaobi.models.verse.write import FREE

    return (*forms.names(), *FREE)


def check(folder: Path, options: Mapping[str, Any], /) -> None:
    """Tell an unknown form; see `core.families.Check`."""
    from miaobi.models.verse import forms
    from miaobi.models.verse.write import FREE

    name = options.get("form", "")
    if name and name not in FREE and not options.get("free"):
        forms.form(name)
