"""What a generative adversarial network is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from miaobi.core.language import tr
from miaobi.core.schema import Schema
from miaobi.models.common.augmentation import Augmentation


class Config(Augmentation):
    """The pictures, the two networks, and the game that they play."""

    size: int = Field(32, ge=4, le=1024)
    """Width and height of the pictures."""
    channels: Literal[1, 3, 4] = 3
    """1 is grey, 3 colour over the background, 4 colour and transparency."""
    fit: Literal["contain", "cover", "stretch"] = "contain"
    """What is done to a picture that is not square: margins, its middle, or stretched."""
    conditional: bool = False
    """Learn the classes in the records' meta; the prompt then names one."""
    field: str = "class"
    """The key of meta that holds the class."""
    architecture: Literal["residual", "dcgan", "dense"] = "residual"
    """Residual without normalisation (R3GAN), convolutions with batch normalisation (DCGAN), or fully connected."""
    latent: int = Field(64, ge=1, le=4096)
    """Numbers that a picture is made from."""
    patch: int = Field(1, ge=1, le=16)
    """Residual: side of the squares of pixels that the first level reads and writes as one; 2 or 4 is quicker and coarser."""
    widths: list[int] = Field(default=[32, 64, 128], min_length=1, max_length=8)
    """Channels of each level, the largest first; every further level halves width and height. Dense: the layers' widths."""
    blocks: int = Field(1, ge=1, le=8)
    """Residual blocks of a level."""
    expansion: int = Field(2, ge=1, le=8)
    """How many times as wide a residual block is inside."""
    group: int = Field(16, ge=1, le=1024)
    """Channels that the 3 by 3 convolution of a residual block sees at once."""
    loss: Literal["relativistic", "logistic", "hinge"] = "relativistic"
    """What is compared: a real picture with a made one (relativistic), or each with a threshold."""
    gamma: float = Field(1.0, ge=0, le=10_000)
    """Weight of the gradient penalties on real and on made pictures, which keep the game stable; 0 is none."""

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        step = self.patch * 2 ** (len(self.widths) - 1) if self.architecture == "residual" else 2 ** len(self.widths)
        if self.architecture != "dense" and self.size % step:
            raise ValueError(tr("size {size} is not a multiple of {step}, which patch and widths make", size=self.size, step=step))
        if self.architecture != "residual" and self.patch != 1:
            raise ValueError(tr("only the residual architecture reads patches"))
        if any(width < 1 for width in self.widths):
            raise ValueError(tr("every width should be at least 1"))
        return self


class Options(Schema):
    """What a person may ask of a generator: pictures, or a walk between pictures."""

    n: int = Field(1, ge=1, le=64)
    """How many different contents."""
    temperature: float = Field(1.0, ge=0, le=10)
    """How far samples are from the most usual picture: 0 is that picture itself, 1 the spread that was learned."""
    walk: int = Field(0, ge=0, le=16)
    """Above 1: an animation on the way between so many samples."""
    frames: int = Field(12, ge=2, le=60)
    """Frames from one sample of a walk to the next."""
    background: str = "transparent"
    """The colour under pictures that are transparent, `transparent` for none."""

    @model_validator(mode="after")
    def _walks_have_two_ends(self) -> Options:
        if self.walk == 1:
            raise ValueError(tr("a walk goes between 2 samples at least"))
        return self
