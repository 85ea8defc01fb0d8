"""What an effect can be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from miaobi.core.schema import Schema

Kind = Literal["", "rain", "wind", "stream", "waves", "thunder", "fire", "birds", "crickets", "bell", "gong", "drum", "click", "clock"]


class Config(Schema):
    """The sounds that a model has, by the words that call them."""

    words: dict[str, list[str]] = Field(default_factory=dict)
    """Kind of sound -> words in a prompt that mean it; the usual Chinese and English ones when empty."""


class Options(Schema):
    """How one effect sounds."""

    kind: Kind = ""
    """What is heard; by default what the prompt names, several at once where it names several."""
    seconds: float = Field(0.0, ge=0, le=120)
    """How long it lasts; 0 for what is usual."""
    strength: float = Field(0.5, ge=0, le=1)
    """How much of it there is: from drizzle to downpour, from breeze to storm, from one bird to many."""
    brightness: float = Field(0.5, ge=0, le=1)
    """From dull to sharp."""
    distance: float = Field(0.25, ge=0, le=1)
    """How far away: less treble, more echo."""
    pitch: float = Field(1.0, ge=0.25, le=4)
    """How high what has a pitch sounds: 2 is an octave above the usual."""
    every: float = Field(0.0, ge=0, le=60)
    """Seconds from one stroke to the next; 0 for what is usual."""
    loop: bool = False
    """Whether the end goes over into the beginning."""
    channels: Literal[1, 2] = 2
    """Mono or stereo."""
    rate: Literal[16000, 22050, 24000, 32000, 44100, 48000] = 44100
    """Samples a second."""
    loudness: float = Field(-20.0, ge=-60, le=-8)
    """The loudness in LUFS (EBU R128); short strokes are as loud as their peaks allow."""
