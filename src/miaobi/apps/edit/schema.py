"""What each way of editing is told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from miaobi.core.schema import Schema


class Given(Schema):
    """A film or a sound that exists."""

    file: str
    """The film or sound."""


class Shots(Given):
    """Where a film is cut."""

    threshold: float = Field(27.0, gt=0, le=255)
    """How much a picture has to differ from the one before to be a cut; lower finds more."""
    shortest: float = Field(0.6, ge=0, le=60)
    """Seconds; a shot is no shorter."""


class Cuts(Shots):
    """Where the shots of a film begin and end."""

    method: Literal["content", "adaptive", "fades"] = "content"
    """`adaptive` forgives a moving camera, `fades` finds blends to black."""


class Trim(Given):
    """Silences taken out."""

    below: float = Field(30.0, gt=0, le=90)
    """Decibels below the loud passages that count as silence."""
    longer: float = Field(0.7, ge=0.1, le=60)
    """Seconds; only silences that are longer are shortened."""
    leave: float = Field(0.25, ge=0, le=10)
    """Seconds of a silence that stay, half at each side of it."""


class Highlight(Shots):
    """A reel of the best moments."""

    seconds: float = Field(30.0, ge=1, le=3600)
    """How long the reel is."""
    piece: float = Field(4.0, ge=1, le=60)
    """Seconds; longer shots are judged in pieces."""
    motion: float = Field(1.0, ge=0, le=10)
    """The weight of movement."""
    loudness: float = Field(1.0, ge=0, le=10)
    """The weight of what is loud."""
    text: str = ""
    """Words: moments that fit them come first."""
    match: float = Field(2.0, ge=0, le=10)
    """The weight of the words."""
    transcript: str = ""
    """A .srt or .vtt file in which the words are looked for."""
    model: str = ""
    """A model of the family `scorer`, which compares the words with the pictures; the built-in one where there is no transcript."""


class Dub(Given):
    """A new narration."""

    transcript: str = ""
    """A .srt or .vtt file: what is said from when to when. Without one the model `ears` listens and puts what it hears into English."""
    voice: str = ""
    """A voice of the model; its own choice when empty."""
    model: str = "narrator"
    """The model that reads."""
    fastest: float = Field(1.35, ge=1, le=2)
    """How much faster than usual the voice may read to be done in time."""
    original: float = Field(-18.0, ge=-100, le=0)
    """Decibels that the film's own sound steps back while the new voice is heard; -100 silences it throughout."""
    seed: int = Field(0, ge=0)
    """The same seed gives the same voice."""


class Subtitle(Given):
    """Words under the pictures."""

    transcript: str = ""
    """A .srt or .vtt file; without one the model listens."""
    model: str = "ears"
    """The model that listens."""
    burn: bool = True
    """Whether a film with the words in its pictures is written, beside the files of words."""
    size: float = Field(0.052, gt=0.01, le=0.2)
    """Height of the letters as a share of the frame's shorter side."""
    font: str = ""
    """A font's file, or the name of an installed one."""


class Describe(Shots):
    """A caption for every shot."""

    model: str = ""
    """A model of the family `caption`."""
    language: Literal["zh", "en"] = "en"
    """Of the captions."""
    seed: int = Field(0, ge=0)
    """The same seed gives the same captions."""
