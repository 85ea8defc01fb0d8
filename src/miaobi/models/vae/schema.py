"""What an autoencoder is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from miaobi.core.language import tr
from miaobi.core.schema import Schema
from miaobi.models.common.augmentation import Augmentation


class Config(Augmentation):
    """The pictures, the network, the latents, and what is learned."""

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
    patch: int = Field(2, ge=1, le=16)
    """Side of the squares that the first convolution reads without overlap."""
    widths: list[int] = Field(default=[32, 64], min_length=1, max_length=6)
    """Channels of each level; every further level halves width and height."""
    blocks: int = Field(1, ge=0, le=8)
    """Residual blocks of a level."""
    latent: int = Field(16, ge=1, le=1024)
    """Channels of the latents."""
    vector: bool = False
    """One latent for the whole picture, which samples well from the prior; else one for each cell, which keeps details."""
    kind: Literal["kl", "vq", "plain"] = "kl"
    """Normal latents (VAE), a codebook (VQ-VAE), or numbers without a prior, for diffusion alone."""
    beta: float = Field(1.0, ge=0, le=1000)
    """Weight of the latents' divergence from the prior: 1 is the bound on the likelihood, above it is a beta-VAE."""
    codes: int = Field(256, ge=2, le=65536)
    """Entries of the codebook."""
    commitment: float = Field(0.25, ge=0, le=10)
    """How strongly latents are pulled to their codes."""
    noise: float = Field(0.05, ge=0, le=1)
    """Noise on plain latents while training, as a share of their spread: as much, or less, for each picture."""
    refine: int = Field(16, ge=0, le=256)
    """Channels of a last convolution at full size, against a grid in the pictures; 0 is none."""
    likelihood: Literal["bernoulli", "gaussian", "logistic", "none"] = "logistic"
    """The distribution of pixels: black or white, or 256 levels by a normal or logistic one; `none` is a distance, for a latent codec."""
    prior_width: int = Field(64, ge=8, le=4096)
    """Width of the Transformer that learns which codes follow each other."""
    prior_layers: int = Field(3, ge=1, le=64)
    """Its layers."""
    stored: Literal["fp32", "fp16"] = "fp32"
    """Number format of the weights on disk."""

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        step = self.patch * 2 ** (len(self.widths) - 1)
        if self.size % step:
            raise ValueError(tr("size {size} is not a multiple of {step}, which patch and widths make", size=self.size, step=step))
        if self.likelihood == "bernoulli" and self.channels == 4:
            raise ValueError(tr("transparency is no matter of black and white; choose another likelihood than bernoulli"))
        if any(width < 1 for width in self.widths):
            raise ValueError(tr("every width should be at least 1"))
        return self


class Options(Schema):
    """What a person may ask of an autoencoder: samples, a given picture again, or a walk between pictures."""

    n: int = Field(1, ge=1, le=64)
    """How many different contents."""
    temperature: float = Field(1.0, ge=0, le=10)
    """How far samples are from the most usual picture: 0 is that picture itself, 1 the spread that was learned."""
    variation: float = Field(0.0, ge=0, le=100)
    """With a picture: how far from it, in deviations that the encoder gives; 0 is the plain reconstruction."""
    compare: bool = False
    """With a picture: the original on the left, the reconstruction on the right."""
    walk: int = Field(0, ge=0, le=16)
    """Above 1: an animation on the way between so many samples; pictures that are given come first."""
    frames: int = Field(12, ge=2, le=60)
    """Frames from one sample of a walk to the next."""
    background: str = "transparent"
    """The colour under pictures that are transparent, `transparent` for none."""

    @model_validator(mode="after")
    def _walks_have_two_ends(self) -> Options:
        if self.walk == 1:
            raise ValueError(tr("a walk goes between 2 samples at least"))
        if self.walk and self.compare:
            raise ValueError(tr("an animation shows no comparison; leave out walk or compare"))
        return self
