"""What a WaveNet is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from miaobi.core.language import tr
from miaobi.core.schema import Schema
from miaobi.models.common.mel import Mel


class Config(Schema):
    """The sound, what is predicted of each sample, the network, and what steers it."""

    rate: int = Field(16_000, ge=1000, le=96_000)
    """Samples a second; sounds of another rate are resampled."""
    conditions: list[Literal["mel", "class"]] = Field(default_factory=list)
    """What steers the model: a mel spectrogram (a vocoder), a record's class. Nothing when empty."""
    field: str = "class"
    """The key of meta that holds the class."""
    mel: Mel = Mel()
    """mel: how the spectrogram is taken."""

    output: Literal["mulaw", "logistics"] = "mulaw"
    """Each sample as one of `levels` classes on a logarithmic scale, or by a mixture of logistic distributions over 16 bits."""
    levels: int = Field(256, ge=16, le=1024)
    """mulaw: how many classes."""
    mixtures: int = Field(5, ge=1, le=32)
    """logistics: how many distributions are mixed (Salimans et al., 2017)."""
    emphasis: float = Field(0.0, ge=0, lt=1)
    """High frequencies are raised before and lowered after, which hides the noise of few classes; 0.85 suits speech."""

    width: int = Field(48, ge=4, le=1024)
    """Channels that a layer passes on."""
    skip: int = Field(96, ge=4, le=4096)
    """Channels that all layers together give to the output."""
    depth: int = Field(10, ge=1, le=16)
    """Layers of a stack; each looks twice as far back as the one before."""
    stacks: int = Field(1, ge=1, le=16)
    """How many stacks."""
    condition_width: int = Field(64, ge=4, le=1024)
    """Channels of the steering vector of a frame."""

    crop: int = Field(6000, ge=16, le=1_000_000)
    """Samples of a record that one step learns from; a multiple of the spectrogram's hop."""

    @property
    def layers(self) -> int:
        """All layers."""
        return self.depth * self.stacks

    @property
    def dilations(self) -> list[int]:
        """How far back each layer looks, in samples."""
        return [2**place for place in range(self.depth)] * self.stacks

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        if "mel" in self.conditions and self.crop % self.mel.hop:
            raise ValueError(tr("crop {crop} is not a multiple of the hop {hop} of the spectrogram", crop=self.crop, hop=self.mel.hop))
        return self


class Options(Schema):
    """What a person may ask: how long, how bold; a vocoder takes its length from the sound that it is given."""

    n: int = Field(1, ge=1, le=64, strict=True)
    """How many different sounds."""
    seconds: float = Field(2.0, ge=0.05, le=60)
    """How long a sound is; a vocoder's are as long as what it is given."""
    temperature: float = Field(1.0, ge=0, le=4)
    """Below 1 the likelier samples become likelier still: less noise, less life. 0 takes the likeliest always."""
    stretches: int = Field(0, ge=0, le=64, strict=True)
    """Vocoder: so many stretches of the sound are made side by side and joined where it is quiet; 0 chooses by the length, 1 is slowest."""
