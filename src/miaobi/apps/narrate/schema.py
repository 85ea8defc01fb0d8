"""What `narrate` is told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from miaobi.core.schema import Schema


class Inputs(Schema):
    """A text, and who reads it."""

    file: str
    """The text: a .txt, .md or .html file."""
    model: str = "narrator"
    """The model that reads."""
    voice: str = ""
    """A voice of the model; when empty, its own for the language that most of the text is in."""
    speed: float = Field(1.0, ge=0.5, le=2)
    """1.2 is a fifth faster."""
    pause: float = Field(0.7, ge=0, le=10)
    """Seconds of silence between two paragraphs; before and after a heading it is twice as long."""
    subtitles: Literal["both", "srt", "vtt", "none"] = "both"
    """Which files with the words and their times are written beside the sound."""
    mark: Literal["auto", "none"] = "auto"
    """The rhythm short-long short-short before the sound, which says that it was generated; `none` leaves it out."""
    seed: int = Field(0, ge=0)
    """The same seed gives the same voice."""
