"""What a style model is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from miaobi.core.language import tr
from miaobi.core.schema import Schema
from miaobi.models.common.augmentation import Augmentation

MULTIPLE = 16  # the networks halve a picture at most four times


class Config(Augmentation):
    """How a style is learned. Styles are the values of `meta.style` of the records."""

    method: Literal["fast", "adain", "cycle"] = "adain"
    """One network for a few styles (fast), for any style picture (adain), or between two sets of pictures without pairs (cycle)."""
    styles: list[str] = Field(default_factory=list, max_length=256)
    """The styles to learn; all that the records have when empty. `cycle` takes two."""
    size: int = Field(64, ge=32, le=512, multiple_of=MULTIPLE)
    """Width and height of the training pictures; a multiple of 16."""
    width: int = Field(24, ge=2, le=1024)
    """Channels of the networks at full resolution; below it they have more."""
    blocks: int = Field(4, ge=0, le=64)
    """Residual blocks of the networks of `fast` and `cycle`."""
    content_weight: float = Field(1.0, ge=0)
    """How much the content's features count (fast, adain)."""
    style_weight: float = Field(5.0, ge=0)
    """How much the style's features count (fast, adain)."""
    smooth_weight: float = Field(0.1, ge=0)
    """How much differences between neighbouring pixels count (fast, adain)."""
    cycle_weight: float = Field(10.0, ge=0)
    """How much it counts that there and back again gives the same picture (cycle)."""
    same_weight: float = Field(5.0, ge=0)
    """How much it counts that a picture already in the style stays as it is (adain, cycle)."""
    flip: bool = True
    """Mirror half of the pictures, apart from those whose words name a side or writing, and those whose meta says `flip: false`."""
    crop: int = Field(4, ge=0, le=512)
    """Shift pictures by at most so many pixels."""

    @model_validator(mode="after")
    def _two_styles(self) -> Config:
        if self.method == "cycle" and len(set(self.styles)) != 2:
            raise ValueError(tr("the method cycle goes between two styles: name them in `styles`"))
        return self


class Options(Schema):
    """What a person may ask. The content is the picture `image` of the request, a style picture is `style_image`."""

    method: Literal["network", "pixels"] = "network"
    """By the trained network, or by optimising the pixels themselves (Gatys et al., 2016), which needs no training and many steps."""
    style: str = ""
    """A style that the model has learned. Without it and without a style picture: the first one that it knows."""
    strength: float = Field(1.0, ge=0, le=1)
    """From the content as it is (0) to all of the style (1)."""
    steps: int = Field(200, ge=1, le=5000)
    """Steps of the method pixels."""
    size: int = Field(0, ge=0, le=1024)
    """The longer side of the result in pixels; 0 is that of the content, at most 512."""
    keep_colours: bool = False
    """Only the brightness takes the style; the content's colours stay (Gatys et al., 2016, arXiv:1606.05897)."""
    background: str = "white"
    """What clear places of the pictures are laid over: a colour's name or #rrggbb; `transparent` gives the result the content's opacity."""
