"""What an image–text scorer is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from miaobi.core.language import tr
from miaobi.core.schema import Schema
from miaobi.models.common.augmentation import Augmentation


class Config(Augmentation):
    """The two towers. The eye of the picture tower is EfficientNet-lite0 with its ImageNet weights, which do not move."""

    size: int = Field(128, ge=32, le=512, multiple_of=32)
    """Width and height that pictures are resized to; a multiple of 32."""
    grid: int = Field(4, ge=1, le=32)
    """Rows and columns of vectors that a picture becomes."""
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
    width: int = Field(256, ge=8, le=8192)
    """Inner width of both towers."""
    heads: int = Field(2, ge=1, le=256)
    """In how many ways the picture tower weighs the places of a picture."""
    dimensions: int = Field(256, ge=2, le=8192)
    """Length of the vectors that are compared."""
    buckets: int = Field(24_576, ge=2, le=4_194_304)
    """Rows of the table of hashed n-grams."""
    text_width: int = Field(96, ge=2, le=8192)
    """Length of the vector of an n-gram."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of the activations that training switches off."""
    drop_ngrams: float = Field(0.1, ge=0, lt=1)
    """Share of a caption's n-grams that training leaves out."""
    stored: Literal["fp32", "fp16"] = "fp16"
    """Numbers of the weights on disk."""

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.size // 32 % self.grid and self.grid % (self.size // 32):
            raise ValueError(
                tr("size / 32 is {side}: it should divide the grid {grid}, or the reverse", side=self.size // 32, grid=self.grid)
            )
        if self.size // 8 % self.grid:
            raise ValueError(tr("size / 8 is {side}: it should be a multiple of the grid {grid}", side=self.size // 8, grid=self.grid))
        return self


class Options(Schema):
    """What a person may ask: the picture is the part `image` of the request, the captions are the prompt's lines."""

    n: int = Field(1, ge=1, le=64)
    """How many captions, the best first."""
    captions: list[Annotated[str, StringConstraints(min_length=1, max_length=1000)]] = Field(default_factory=list, max_length=10_000)
    """More captions to choose from, beside the lines of the prompt."""
