"""How training changes pictures, the same five keys in every family that learns from pictures, and which pictures a mirror would belie.

Unusual: a change that would make a record's own words wrong is not made. What is called "left arrow", "three o'clock" or "letter B" is
never mirrored, whatever the recipe says.
"""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, model_validator

from miaobi.core.errors import UsageError
from miaobi.core.schema import Schema
from miaobi.core.types import Record
from miaobi.models.common.captions import LANGUAGES, captions_of

RANDOM = "random"  # a background that is drawn anew for every picture while training; white otherwise

# Sides and turns, writing, and things that carry writing or have a side. A word too many costs a few unmirrored pictures.
_ONE_SIDED = re.compile(
    r"\b(?:(?:left|right)(?:wards?)?|(?:anti|counter)?clockwise|arrows?|east|west|letters?|numbers?|digits?|keycap|text|word|alphabet|latin"
    r"|clock|watch|o[’']clock|thirty|calendar|buttons?|signs?|marks?|symbols?|notes?|music(?:al)?|score|flags?|maps?|globe|keyboard"
    r"|dollars?|euros?|pounds?|yen|abc?|id|ok|www)\b"
    r"|[左右字钟旗]|点半|手表|顺时针|逆时针|箭头|按钮|符号|标志|标记|音符|乐谱|问号|地图|地球|日历|键盘|美元|欧元|英镑|日元",
    re.IGNORECASE,
)
_CHARACTER = re.compile(r"\d+|\w")  # a class called "7" or "R" is writing itself


class Augmentation(Schema):
    """What is changed anew each time that training sees a picture; evaluation and generation see it as it is."""

    background: str = "white"
    """The colour under transparent pictures, or `random` for another one each time; pictures of 4 channels keep their transparency."""
    flip: bool = False
    """Mirror half of the pictures, apart from those whose words name a side or writing, and those whose meta says `flip: false`."""
    crop: int = Field(0, ge=0, le=512)
    """Shift pictures by at most so many pixels."""
    scale: float = Field(0.0, ge=0, le=1)
    """Zoom by a factor of at most 1 + scale, in or out."""
    colour: float = Field(0.0, ge=0, lt=1)
    """Change brightness, contrast and saturation by at most this share; the background stays as it is."""

    @model_validator(mode="after")
    def _known_colour(self) -> Self:
        if self.background not in ("white", RANDOM):
            from miaobi.data.pictures import colour

            try:
                colour(self.background)
            except UsageError as error:
                raise ValueError(str(error)) from None
        return self

    @property
    def ground(self) -> str:
        """The background of a picture that is not learned from."""
        return "white" if self.background == RANDOM else self.background

    def changes(self, channels: int) -> bool:
        """Whether a picture of so many channels looks different from one time to the next."""
        return self.flip or bool(self.crop or self.scale or self.colour) or (self.background == RANDOM and channels < 4)


def may_mirror(record: Record, *, field: str = "class") -> bool:
    """Whether the record's picture is still what its words say when its sides are exchanged; its class is in the given field of meta."""
    if record.meta.get("flip", True) is False or _CHARACTER.fullmatch(str(record.meta.get(field, ""))):
        return False
    named = (str(record.meta.get(key, "")) for key in (field, "concept"))
    said = (text for language in LANGUAGES for text in captions_of(record, language))
    return not any(_ONE_SIDED.search(text) for text in (*named, *said))
