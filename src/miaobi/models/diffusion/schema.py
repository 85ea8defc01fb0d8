"""What a diffusion model is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from miaobi.core.language import tr
from miaobi.core.schema import Schema
from miaobi.models.common.augmentation import Augmentation


class Config(Augmentation):
    """Pictures, network, noise and conditions."""

    size: int = Field(32, ge=4, le=1024)
    """Width and height of the pictures."""
    channels: Literal[1, 3, 4] = 3
    """1 is grey, 3 colour over `background`, 4 colour with transparency."""
    codec: str = ""
    """A trained `vae` (its folder or name): the model then draws in its latents. In pixels when empty."""
    views: int = Field(4, ge=1, le=64)
    """codec: of a picture that training changes, the latents of so many changed views and of the plain one are computed once and kept."""

    backbone: Literal["unet", "dit"] = "dit"
    """The network: convolutions over several resolutions, or a Transformer over patches."""
    widths: list[int] = Field(default_factory=lambda: [32, 64, 96], min_length=1, max_length=8)
    """unet: channels at each resolution, finest first."""
    blocks: int = Field(2, ge=1, le=8)
    """unet: residual blocks at each resolution."""
    attention: list[int] = Field(default_factory=lambda: [2])
    """unet: resolutions with attention, 0 is the finest."""
    width: int = Field(256, ge=16, le=4096)
    """dit: length of the vector that a patch is; a multiple of 4 times `heads`."""
    layers: int = Field(6, ge=1, le=128)
    """dit: how many blocks."""
    heads: int = Field(4, ge=1, le=64)
    """dit: attentions of a block, side by side."""
    patch: int = Field(2, ge=1, le=32)
    """dit: pixels (or latents) of a patch's side."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the activations that training switches off."""

    predict: Literal["noise", "clean", "velocity", "flow"] = "flow"
    """What the network predicts: noise, the clean picture, the velocity v (Salimans and Ho, 2022), or a rectified flow's velocity.

    Patches of more numbers than the network is wide want `clean`: noise does not pass through a narrow network (Li and He, 2025)."""
    schedule: Literal["linear", "scaled_linear", "cosine", "flow"] = "flow"
    """How noise grows with time; a flow mixes picture and noise evenly."""
    times: Literal["uniform", "logit-normal", "log-normal"] = "uniform"
    """Which times are trained: all alike, or the middle ones more (Esser et al., 2024; Karras et al., 2022)."""
    weighting: Literal["uniform", "min-snr"] = "uniform"
    """How errors at different times weigh: alike, or by their signal (Hang et al., 2023)."""

    conditions: list[Literal["class", "text", "style"]] = Field(default_factory=list)
    """What steers the model: a record's class, its captions, its style."""
    condition_dropout: float = Field(0.1, ge=0, lt=1)
    """How often training hides the conditions, which guidance needs."""
    words: int = Field(16384, ge=16, le=1_000_000)
    """text: the most features of captions (characters, pairs, words, trigrams) that are known."""
    text_width: int = Field(192, ge=16, le=2048)
    """text: length of the vector that a word is; a multiple of 4."""
    text_layers: int = Field(2, ge=1, le=24)
    """text: how many blocks of the encoder."""
    text_tokens: int = Field(0, ge=0, le=64)
    """text: so many vectors of the caption are attended to, besides the one that steers every block."""
    tie: float = Field(0.05, ge=0, le=10)
    """text: weight of the loss that pulls a caption and its translation together."""
    upscale: Literal[1, 2, 4] = 1
    """2 and 4: an upscaler, which is shown the picture at a half or a quarter of its size."""

    distill: str = ""
    """A trained model of this family (its folder or name) whose many steps this one learns to do in few; it decides all other keys."""
    distill_guidance: float = Field(3.0, ge=0, le=50)
    """distill: the teacher's guidance that is learned along."""
    distill_pairs: int = Field(4, ge=1, le=4096)
    """distill: noises of each record, whose pictures the teacher is asked for."""
    stored: Literal["fp32", "fp16"] = "fp32"
    """The number format of the weights on disk."""

    @model_validator(mode="before")
    @classmethod
    def _older(cls, values: Any) -> Any:
        """`shift` is what `crop` was called."""
        if not isinstance(values, dict) or "shift" not in values:
            return values
        return {"crop": values["shift"]} | {name: value for name, value in values.items() if name != "shift"}

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        halvings = len(self.widths) - 1
        pixels = self.size if not self.codec else 0  # the cells of a codec are checked when it is known
        if self.backbone == "dit" and self.width % (4 * self.heads):
            raise ValueError(tr("width {width} is not a multiple of 4 times heads, {step}", width=self.width, step=4 * self.heads))
        if self.backbone == "dit" and pixels % self.patch:
            raise ValueError(tr("size {size} is not a multiple of patch {patch}", size=self.size, patch=self.patch))
        if self.backbone == "unet" and pixels % 2**halvings:
            raise ValueError(tr("size {size} cannot be halved {times} times; give fewer widths", size=self.size, times=halvings))
        if any(width % 4 for width in (*self.widths, self.text_width)):
            raise ValueError(tr("widths and text_width are multiples of 4"))
        if self.upscale > 1 and self.codec:
            raise ValueError(tr("an upscaler works on pixels; leave codec out"))
        if self.size % self.upscale:
            raise ValueError(tr("size {size} is not a multiple of upscale {factor}", size=self.size, factor=self.upscale))
        return self


class Options(Schema):
    """What a person may ask of a picture. What is left out, the model itself recommends."""

    n: int = Field(1, ge=1, le=256, strict=True)
    """How many pictures."""
    style: str = Field("", max_length=64)
    """The style by name, where the model has several (a wrong name lists them)."""
    negative: str = Field("", max_length=1000)
    """What should not be in the picture."""
    steps: int | None = Field(None, ge=1, le=1000, strict=True)
    """Passes of the network; more are finer, up to a point."""
    guidance: float | None = Field(None, ge=0, le=50)
    """How strongly the prompt pulls: 1 is as learned, 3 to 6 usual."""
    sampler: Literal["auto", "ddpm", "ddim", "euler", "euler-ancestral", "heun", "dpmpp-2m", "consistency"] = "auto"
    """How noise becomes a picture; `auto` is what the model is made for."""
    size: int | None = Field(None, ge=1, le=8192, strict=True)
    """Width and height of the picture (a wrong one lists the possible)."""
    background: str = Field("white", max_length=32)
    """`transparent`, a colour's name or #rrggbb; a model without transparency leaves its own."""
    strength: float | None = Field(None, gt=0, le=1)
    """With a start picture: how much of it may change; 1 is everything. By default 0.6, and 1 under a mask."""
    margin: float = Field(0.0, ge=0, le=0.45)
    """With a start picture: it is made smaller, and what is around it is drawn (outpainting), so much of the side on each side."""
    variation: float = Field(1.0, ge=0, le=1)
    """With n: how far the pictures differ from the first; 1 is as other seeds would."""
    to: str = Field("", max_length=1000)
    """With n: the pictures lead from the prompt to this one."""
    to_seed: int | None = Field(None, ge=0, le=2**63 - 1)
    """With n: the pictures lead from the seed's picture to this seed's."""
    previews: bool = False
    """Show the picture while it emerges."""
