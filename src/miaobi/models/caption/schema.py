"""What a captioner is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from miaobi.core.language import tr
from miaobi.engine.sampling.options import Sampling
from miaobi.models.common.augmentation import Augmentation


class Config(Augmentation):
    """An eye that does not move (EfficientNet-lite0 with its ImageNet weights) and a Transformer that reads what it sees."""

    size: int = Field(128, ge=32, le=512, multiple_of=32)
    """Width and height that pictures are resized to; a multiple of 32."""
    grid: int = Field(4, ge=1, le=32)
    """Rows and columns of vectors that a picture becomes; the Transformer reads them before the words."""
    views: int = Field(2, ge=0, le=64)
    """How many changed views of each picture training sees beside the plain one."""
    background: str = "white"
    """views: the colour under transparent pictures, or `random` for another one each time; beside them, and in use, they lie on white."""
    crop: int = Field(8, ge=0, le=512)
    """views: shift pictures by at most so many pixels."""
    scale: float = Field(0.15, ge=0, le=1)
    """views: zoom by a factor of at most 1 + scale, in or out."""
    colour: float = Field(0.15, ge=0, lt=1)
    """views: change brightness, contrast and saturation by at most this share; the background stays as it is."""
    width: int = Field(192, ge=8, le=8192)
    """Length of the vectors that a token is; a multiple of `heads`."""
    layers: int = Field(4, ge=1, le=256)
    """How many blocks of attention and feed-forward."""
    heads: int = Field(4, ge=1, le=256)
    """How many attentions a block has side by side."""
    length: int = Field(40, ge=4, le=1024)
    """The most tokens of a caption; longer ones are cut in training."""
    min_count: int = Field(3, ge=1)
    """Latin words that occur less often are spelled letter by letter."""
    dropout: float = Field(0.15, ge=0, lt=1)
    """Share of the activations that training switches off."""
    stored: Literal["fp32", "fp16"] = "fp16"
    """Numbers of the weights on disk."""

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.width % self.heads:
            raise ValueError(tr("width {width} is not a multiple of heads {heads}", width=self.width, heads=self.heads))
        side = self.size // 32
        if side % self.grid and self.grid % side:
            raise ValueError(tr("size / 32 is {side}: it should divide the grid {grid}, or the reverse", side=side, grid=self.grid))
        if self.size // 8 % self.grid:
            raise ValueError(tr("size / 8 is {side}: it should be a multiple of the grid {grid}", side=self.size // 8, grid=self.grid))
        return self


class Options(Sampling):
    """What a person may ask. The picture is the part `image` of the request; the prompt, if any, is how the caption begins."""

    language: Literal["zh", "en"] = "zh"
    """The language of the caption."""
    temperature: float = Field(0.0, ge=0, le=10)
    """0 takes the likeliest token; above 1 is bolder, below 1 is safer."""
    max_tokens: int = Field(32, ge=1, le=1024)
    """Longest generation, in tokens of the model."""
