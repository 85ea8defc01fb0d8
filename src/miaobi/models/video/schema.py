"""What a video model is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from miaobi.core.language import tr
from miaobi.core.schema import Schema


class Config(Schema):
    """Clips, what of them is denoised, network, noise and conditions."""

    size: int = Field(64, ge=8, le=512)
    """Width and height of the clips that are learned from."""
    frames: int = Field(16, ge=2, le=128)
    """Frames of a clip."""
    fps: float = Field(6.0, gt=0, le=60)
    """Frames a second of a clip, as it is meant to be seen."""
    channels: Literal[3, 4] = 4
    """3 is colour over `background`, 4 colour with transparency."""
    background: str = "white"
    """The colour that transparent clips are laid over (channels 3)."""
    flip: bool = False
    """Mirror half of the training clips."""

    space: Literal["flow", "pixels", "latents"] = "flow"
    """What is denoised: where each place of the first frame moves to, or the frames themselves, in pixels or in latents of `codec`."""
    grid: int = Field(8, ge=2, le=64)
    """flow: places a side whose motion is told; between them it is smooth."""
    reach: float = Field(0.1, gt=0, le=1)
    """flow: the motion, as a share of half a side, that counts as 1."""
    harmonics: int = Field(2, ge=0, le=64)
    """flow, loop: what is made swings so many times a round at most; 0 leaves it as the network has it."""
    codec: str = ""
    """latents: a trained `vae` (its folder or name)."""

    width: int = Field(192, ge=16, le=4096)
    """Length of the vector that a patch is; a multiple of 4 times `heads`."""
    layers: int = Field(6, ge=1, le=128)
    """How many blocks, each over time and then over space."""
    heads: int = Field(4, ge=1, le=64)
    """Attentions of a block, side by side."""
    patch: int = Field(2, ge=1, le=32)
    """Places, pixels or latents of a patch's side."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the activations that training switches off."""
    loop: bool = True
    """The last frame leads to the first: time is a circle."""

    predict: Literal["clean", "velocity", "flow"] = "flow"
    """What the network predicts: the clean clip, the velocity v, or a rectified flow's velocity."""
    times: Literal["uniform", "logit-normal", "log-normal"] = "uniform"
    """Which noise levels are trained: all alike, or the middle ones more."""
    conditions: list[Literal["text"]] = Field(default_factory=lambda: ["text"])  # type: ignore[arg-type]
    """What steers the model besides the first frame: captions."""
    condition_dropout: float = Field(0.1, ge=0, lt=1)
    """How often training hides the caption, which guidance needs."""
    first_dropout: float = Field(0.3, ge=0, lt=1)
    """pixels, latents: how often training hides the first frame, so that a clip can be made from words alone."""
    words: int = Field(4096, ge=16, le=1_000_000)
    """text: the most features of captions that are known."""
    text_width: int = Field(96, ge=16, le=2048)
    """text: length of the vector that a word is; a multiple of 4."""
    text_layers: int = Field(1, ge=1, le=24)
    """text: how many blocks of the encoder."""
    tie: float = Field(0.02, ge=0, le=10)
    """text: weight of the loss that pulls a caption and its translation together."""
    stored: Literal["fp32", "fp16"] = "fp32"
    """The number format of the weights on disk."""

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        if self.width % (4 * self.heads):
            raise ValueError(tr("width {width} is not a multiple of 4 times heads, {step}", width=self.width, step=4 * self.heads))
        if self.text_width % 4:
            raise ValueError(tr("widths and text_width are multiples of 4"))
        if bool(self.codec) != (self.space == "latents"):
            raise ValueError(tr("space latents and a codec go together"))
        if self.space == "latents" and self.flip:
            raise ValueError(tr("the latents of a mirrored clip are others; leave out flip"))
        cells = {"flow": self.grid, "pixels": self.size}.get(self.space, 0)  # the cells of a codec are checked when it is known
        if cells % self.patch:
            raise ValueError(tr("size {size} is not a multiple of patch {patch}", size=cells, patch=self.patch))
        if self.space == "flow" and self.size % self.grid:
            raise ValueError(tr("size {size} is not a multiple of grid {grid}", size=self.size, grid=self.grid))
        return self


class Options(Schema):
    """What a person may ask of a clip. What is left out, the model itself recommends."""

    n: int = Field(1, ge=1, le=64, strict=True)
    """How many clips."""
    negative: str = Field("", max_length=1000)
    """What the clip should not show."""
    steps: int | None = Field(None, ge=1, le=1000, strict=True)
    """Passes of the network; more are finer, up to a point."""
    guidance: float | None = Field(None, ge=0, le=50)
    """How strongly the prompt pulls: 1 is as learned."""
    motion: float = Field(1.0, ge=0, le=4)
    """How far things move, times what was learned: 0 stands still, 2 is wild. For models of motion."""
    smooth: int = Field(3, ge=1, le=8, strict=True)
    """Frames shown for each that is made; those in between follow the motion. For models of motion."""
    fps: float | None = Field(None, gt=0.5, le=50)
    """Frames a second; by default as fast as what was learned."""
    size: int | None = Field(None, ge=16, le=1024, strict=True)
    """Pixels of the longer side; by default the given picture's, up to 256. Models of frames know their own size only."""
    background: str = Field("transparent", max_length=32)
    """`transparent`, a colour's name or #rrggbb."""
    painter: str = Field("painter", max_length=200)
    """The model that draws the first frame from the words when no picture is given, and the clip needs one."""
