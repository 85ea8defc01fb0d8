"""What a person may ask of `create`. In a folder that holds a work, whatever is not given stays as it was."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from miaobi.core.schema import Schema

Stage = Literal["poem", "scenes", "picture", "music", "narration", "film", "page"]
NONE = "none"  # instead of a model's name: leave this out


class Inputs(Schema):
    """The brief, and how it is carried out."""

    brief: str = Field("", max_length=500)
    """What the work is about, in Chinese or English."""
    language: Literal["auto", "zh", "en"] = "auto"
    """Of the poem; `auto` is that of the brief."""
    form: str = Field("", max_length=64)
    """The poem's form, as the text model names it: 七绝, 五律, 水调歌头; ballad, quatrain."""
    style: str = Field("", max_length=64)
    """The pictures' style, as the image model names it."""
    voice: str = Field("", max_length=200)
    """Who reads, as the voice model names it; `none` for nobody."""
    size: Literal["portrait", "square", "landscape"] = "portrait"
    """The film's shape."""
    draft: bool = False
    """Half the size and 12 frames a second: a quick look."""
    seed: int | None = Field(None, ge=0, le=2**31 - 1, strict=True)
    """The same seed makes the same work; without one, one is drawn and remembered."""
    text_model: str = Field("", max_length=1000)
    """Who writes the poem, by name or folder: by default poet in Chinese, rhymer in English."""
    image_model: str = Field("painter", max_length=1000)
    """Who draws; `none` sets words instead."""
    music_model: str = Field("composer", max_length=1000)
    """Who composes; `none` for no music."""
    voice_model: str = Field("narrator", max_length=1000)
    """Who reads the poem aloud; `none` for nobody."""
    mark: Literal["auto", "zh", "en", "none"] = "auto"
    """The visible and audible mark in what is published; `auto` is in the poem's language."""
    only: list[Stage] = Field(default_factory=list)
    """Make only these, and what they need that is not there yet."""
    replace: dict[str, str] = Field(default_factory=dict)
    """Your own file in place of a stage's: picture=my.png (for every scene), picture-2=my.png, music=tune.mp3, poem=mine.txt. An empty
    file name takes it back."""
