"""What is put into a picture or a sound before it leaves, by choice: words to see or a rhythm to hear, then the watermark."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from miaobi.core.errors import UsageError, unknown
from miaobi.core.language import language as language_of_messages
from miaobi.core.types import Label, Media

MARKS = ("none", "auto", "zh", "en")  # `auto` is the language of messages
WATERMARKS = ("none", "image", "sound")  # the last two say in what kind of content it is wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Marking:
    """`language` and `corner` of the visible words (no language: none), and whether the watermark is put in.

    A sound has the rhythm before it whatever the language is; a film the words in its opening.
    """

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
        return cls(language="" if language in ("", "none") else language, watermark=watermark in ("image", "sound"))

    @classmethod
    def of_label(cls, label: Label) -> Marking:
        """What a labelled picture, sound or film was marked with."""
        from miaobi.trust import mark, rhythm

        heard = ("en", "bottom-right") if rhythm.described(label.mark) else None
        language, corner = heard or mark.described(label.mark) or ("", "bottom-right")
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

    def apply_to_sound(self, media: Media, payload: int) -> tuple[Media, str, str]:
        """The marked sound as WAV, and what its label says of the mark and of the watermark.

        A watermark that would not be found again, since the sound is too short or too quiet, is not put in.
        """
        from miaobi.trust import rhythm, sound_watermark, watermark, wav
        from miaobi.trust.media import decode

        samples, rate = decode(media.data)
        words = hidden = ""
        if self.language:
            samples, words = rhythm.before(samples, rate), rhythm.describe()
        if self.watermark:
            marked = sound_watermark.embed(samples, rate, payload)
            if sound_watermark.detect(marked, rate).carries(payload):
                samples, hidden = marked, watermark.describe(payload, sound_watermark.NAME)
        return dataclasses.replace(media, mime="audio/wav", data=wav.encode(samples, rate)), words, hidden
