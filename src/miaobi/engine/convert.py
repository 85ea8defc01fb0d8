"""A content's part as the kind of file that a person wants: a sound in another format or as its spectrum, a score played or drawn, a loop.

What the model made stays what the label's `content_sha256` is over; the converted file has its own hash beside it (`encoded_sha256`), and a
replay makes the content again and then converts it again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from miaobi.core.errors import UsageError, unknown
from miaobi.core.types import Content, Media, Modality
from miaobi.trust import containers, media
from miaobi.trust.media import MIDI, MUSICXML

LOOPS = {".gif": "image/gif", ".webp": "image/webp"}
FILMS = {".mp4": "video/mp4", ".webm": "video/webm", **LOOPS}
SOUNDS = {suffix: mime for suffix, mime in media.SUFFIXES.items() if mime.startswith("audio/") and mime != MIDI}
SCORES = {suffix: mime for suffix, mime in media.SUFFIXES.items() if mime in (MIDI, MUSICXML)}
PICTURE = {".png": "image/png"}  # of a sound its spectrogram, of a score its piano roll
SUFFIXES: Mapping[Modality, Mapping[str, str]] = {
    Modality.IMAGE: containers.SUFFIXES,
    Modality.AUDIO: SOUNDS | PICTURE,
    Modality.MUSIC: SCORES | SOUNDS | PICTURE,
    Modality.VIDEO: FILMS,
}


def write(content: Content, path: Path, *, language: str = "") -> None:
    """Write a content with its labels into a file whose suffix says what it becomes.

    Raises:
        UsageError: a suffix that no part of the content can become.
        MiaobiError: the disk is full, no permission, or the file read back is not what was written.
        MissingExtra: the format needs a package that is not installed.
    """
    from miaobi.trust import label

    label.write(content, path, language=language, part=fitting(content, path.suffix.lower()))


def encoded(content: Content, suffix: str) -> Media:
    """A content's picture, sound, film or score as `write` puts it into a file of that suffix, its labels in its bytes.

    Raises:
        UsageError: a suffix that no part of the content can become.
        MissingExtra: the format needs a package that is not installed.
    """
    from miaobi.trust import label

    return label.encoded(content, suffix, part=fitting(content, suffix))


def fitting(content: Content, suffix: str) -> Media | None:
    """The part of a content that a file of that suffix holds, converted where it must be; None for text and still pictures.

    Raises:
        UsageError: no part can become such a file.
    """
    media = [part for part in content.parts if isinstance(part, Media)]
    parts = [part for part in media if part.modality is not Modality.IMAGE]
    own = suffix in PICTURE and len(parts) < len(media)  # a picture that it has goes before one that is made of its sound
    if not parts or own or (suffix in containers.SUFFIXES and not any(suffix in SUFFIXES[part.modality] for part in parts)):
        return None
    for part in parts:
        if suffix in SUFFIXES[part.modality]:
            return converted(part, SUFFIXES[part.modality][suffix])
    raise unknown("file ending", suffix, {ending for part in parts for ending in SUFFIXES[part.modality]})


def converted(part: Media, mime: str) -> Media:
    """A sound, score or film as another kind; itself where it is of that kind already.

    Raises:
        UsageError: nothing of that kind can be made of it.
    """
    if part.mime == mime:
        return part
    if part.modality is Modality.AUDIO:
        return _sound(part, mime)
    if part.modality is Modality.MUSIC and part.mime == MIDI:
        return _score(part, mime)
    if part.modality is Modality.VIDEO:
        return _film(part, mime)
    raise UsageError("{own} cannot be written as {wanted}", own=part.mime, wanted=mime)


def _sound(part: Media, mime: str) -> Media:
    from miaobi.data import sounds

    if mime in PICTURE.values():
        from miaobi.data.pictures import encode
        from miaobi.data.sound_pictures import spectrogram

        return dataclasses.replace(part, modality=Modality.IMAGE, mime=mime, data=encode(spectrogram(sounds.decode(part.data))))
    return dataclasses.replace(part, mime=mime, data=sounds.encode(sounds.decode(part.data), mime))


def _score(part: Media, mime: str) -> Media:
    """Notes as MusicXML, drawn, or played by the instruments that ship."""
    if mime in PICTURE.values():
        from miaobi.data.piano_roll import png

        return dataclasses.replace(part, modality=Modality.IMAGE, mime=mime, data=png(part.data))
    if mime == MUSICXML:
        from miaobi.data.scores import to_musicxml

        return dataclasses.replace(part, mime=mime, data=to_musicxml(part.data))
    return sounding(part, mime)


def sounding(score: Media, mime: str, *, marked: bool = False) -> Media:
    """A MIDI score played by the instruments that ship; with the audible mark before it, where it is to be published."""
    from miaobi.data import sounds
    from miaobi.engine.synth import render
    from miaobi.trust import rhythm

    sound = render(score.data)
    if marked:
        sound = dataclasses.replace(sound, samples=rhythm.before(sound.samples, sound.rate))
    return dataclasses.replace(score, modality=Modality.AUDIO, mime=mime, data=sounds.encode(sound, mime))


def _film(part: Media, mime: str) -> Media:
    from miaobi.data import videos

    return dataclasses.replace(part, mime=mime, data=videos.encode(videos.decode(part.data), mime))
