"""What a speaking model is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from miaobi.core.schema import Schema


class Config(Schema):
    """Which network speaks, and what numbers it knows its phonemes by."""

    parts: tuple[str, ...] = Field(min_length=1)
    """SHA-256 of the pieces that the network comes in, one a package."""
    network: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the whole network."""
    rate: int = Field(24_000, ge=8000, le=192_000)
    """Samples a second."""
    frame: int = Field(600, ge=1)
    """Samples of one frame, the unit of the network's durations."""
    context: int = Field(510, ge=1)
    """The most phonemes that it speaks at once."""
    vocabulary: dict[str, int]
    """The number of each phoneme and mark."""


class Options(Schema):
    """What a person may ask. The prompt is what is said."""

    voice: str = Field("", max_length=200)
    """A voice such as zf_xiaobei, or a mix such as zf_xiaobei:0.5,zm_yunxi:0.5; empty takes one for the language."""
    speed: float = Field(1.0, ge=0.5, le=2.0)
    """1 is the voice's own pace, 2 twice as fast."""
    language: Literal["auto", "zh", "en"] = "auto"
    """What the text is read as; auto decides sentence by sentence."""
    pause: float = Field(0.3, ge=0, le=10)
    """Seconds of silence between sentences."""
    times: bool = True
    """Put the time of every word into the notes of the label."""
