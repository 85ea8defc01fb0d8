"""What a Tacotron is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from miaobi.core.language import tr
from miaobi.core.schema import Schema
from miaobi.models.common.mel import Mel


class Config(Schema):
    """The text, the spectrogram, the network, and what attention is taught."""

    text: Literal["characters", "pinyin", "phonemes"] = "characters"
    """What a text is read as: its characters; Chinese as pinyin with tones, other letters as they are; or a phonetic transcription."""
    rate: int = Field(16_000, ge=1000, le=96_000)
    """Samples a second; sounds of another rate are resampled."""
    mel: Mel = Mel()
    """How the spectrogram is taken. A wavenet that is to make it heard has the same."""
    vocoder: str = ""
    """A trained wavenet (its folder or name) that is taken along and makes the sound; Griffin and Lim's phases when empty."""

    width: int = Field(192, ge=8, le=2048, multiple_of=2)
    """Length of the vector that a symbol is."""
    encoder_layers: int = Field(3, ge=0, le=8)
    """Convolutions over the symbols, before an LSTM reads them both ways."""
    attention_width: int = Field(96, ge=4, le=1024)
    """Numbers in which question and symbols are compared."""
    location_filters: int = Field(16, ge=1, le=256)
    """Filters over the attention paid so far."""
    location_kernel: int = Field(31, ge=3, le=127)
    """How many symbols such a filter spans; odd."""
    prenet_width: int = Field(96, ge=4, le=2048)
    """Width of the two layers that the last frame goes through; half of them are always switched off."""
    decoder_width: int = Field(256, ge=8, le=4096)
    """Width of the two LSTMs that write the frames."""
    reduction: int = Field(4, ge=1, le=16)
    """Frames that one step writes; more is quicker and learns attention sooner, fewer is finer."""
    postnet_layers: int = Field(5, ge=2, le=12)
    """Convolutions over the finished spectrogram that mend it."""
    postnet_width: int = Field(160, ge=4, le=2048)
    """Their channels."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the activations of convolutions that training switches off."""
    guide: float = Field(5.0, ge=0, le=100)
    """Weight of the loss that pulls attention to the diagonal (Tachibana et al., 2018); 0 is none."""
    guide_width: float = Field(0.2, gt=0, le=2)
    """How far from the diagonal attention may be without a loss, as a share of the text."""

    @model_validator(mode="after")
    def _odd(self) -> Config:
        if self.location_kernel % 2 == 0:
            raise ValueError(tr("location_kernel {size} should be odd", size=self.location_kernel))
        return self


class Options(Schema):
    """What a person may ask of a speaker."""

    n: int = Field(1, ge=1, le=64, strict=True)
    """How many renderings; they differ a little, as the prenet always switches half of itself off."""
    vocoder: str = Field("auto", max_length=1000)
    """What makes the spectrogram heard: `griffin-lim`, a wavenet by name or folder, or `auto`: the one that the model brings."""
    iterations: int = Field(60, ge=1, le=1000, strict=True)
    """griffin-lim: rounds; more are cleaner, up to a point."""
    most_seconds: float = Field(12.0, gt=0, le=60)
    """A sentence is broken off there when the model does not find its end."""
    attention: bool = False
    """Give a picture beside the sound: which symbol was looked at when."""
