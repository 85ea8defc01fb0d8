"""What is put into the pixels of a picture before it leaves, by choice: the visible words, then the invisible watermark."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from miaobi.core.errors import UsageError, unknown
from miaobi.core.language import language as language_of_messages
from miaobi.core.types import Label, Media

MARKS = ("none", "auto", "zh", "en")  # `auto` is the language of messages
WATERMARKS = ("none", "image")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marking:
    """`language` and `corner` of the visible words (no language: none), and whether the watermark is put in."""

    language: str = ""
    corner: str = "bottom-right"
    watermark: bool = False

    @classmethod
    def of(cls, mark: str = "none", watermark: str = "none") -> Marking:
        """From what a person types or a recipe says; empty is "none".

        Raises:
            UsageError: neither of `MARKS`, or of `WATERMARKS`.
        """
        if (mark or "none") not in MARKS:
            raise unknown("mark", mark, MARKS)
        if (watermark or "none") not in WATERMARKS:
            raise unknown("watermark", watermark, WATERMARKS)
        language = language_of_messages() if mark == "auto" else mark
        return cls(language="" if language in ("", "none") else language, watermark=watermark == "image")

    @classmethod
    def of_label(cls, label: Label) -> Marking:
        """What a labelled picture was marked with."""
        from miaobi.trust import mark

        language, corner = mark.described(label.mark) or ("", "bottom-right")
        return cls(language=language, corner=corner, watermark=bool(label.watermark))

    def __bool__(self) -> bool:
        return bool(self.language) or self.watermark

    def apply(self, media: Media, payload: int) -> tuple[Media, str, str]:
        """The marked picture as PNG, and what its label says of the mark and of the watermark.

        A watermark that would not be found again, since the picture is too small or too clear, is not put in, and the label names none.

        Raises:
            UsageError: the picture moves.
        """
        from miaobi.trust import mark, pictures, watermark

        if pictures.moves(media.data):
            raise UsageError("a picture that moves cannot be marked; choose --mark none and --watermark none")
        pixels = pictures.decode(media.data)
        words = hidden = ""
        if self.language:
            pixels, words = mark.draw(pixels, self.language, corner=self.corner), mark.describe(self.language, self.corner)
        if self.watermark:
            marked = watermark.embed(pixels, payload)
            found = watermark.detect(marked)
            if found.found and found.payload == payload:
                pixels, hidden = marked, watermark.describe(payload)
        return dataclasses.replace(media, mime="image/png", data=pictures.encode(pixels, "image/png")), words, hidden
