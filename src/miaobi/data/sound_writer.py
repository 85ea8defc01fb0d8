"""Recordings written to a file as they are played, so that hours of sound take no more memory than seconds; with chapters, if wanted.

The bytes are those that `data.sounds.encode` gives of the whole. Chapters lie where players look for them: MP3 has them in ID3 (`CHAP`),
M4A in a track of text and Nero's `chpl`, FLAC and OGG in Vorbis comments (`CHAPTER001=…`), WAV in `cue ` and `adtl`.
"""

from __future__ import annotations

import importlib.util
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from miaobi.core.artifact import explain_os_errors
from miaobi.core.errors import MissingExtra, unknown
from miaobi.core.language import tr
from miaobi.data import sounds
from miaobi.data.recordings import Recording, even, resampled
from miaobi.data.sounds import Chapter, Samples
from miaobi.trust import wav


def check(path: Path) -> str:
    """The MIME type of a file that can be written here; to be called before what goes into it takes its time.

    Raises:
        UsageError: a format that is not written.
        MissingExtra: not WAV, and a package that writes it is not installed.
    """
    mime = sounds.MIMES.get(path.suffix.lower())
    if mime is None:
        raise unknown("sound format", path.suffix, sounds.MIMES)
    for package in ("av", "soxr", "mutagen") if mime != "audio/wav" else ():
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(tr("reading and writing compressed sounds and films"), "sound", package)
    return mime


def write(sound: Recording, path: Path, *, chapters: Sequence[Chapter] = ()) -> None:
    """The sound as a file of a kind by its suffix; half of one stays behind when it could not be finished.

    Raises:
        UsageError: a format that is not written.
        DataError: more channels than two in a compressed format, or more than a WAV file holds.
        MissingExtra: not WAV, and a package that writes it is not installed.
        MiaobiError: the disk is full, or no permission.
    """
    mime = check(path)
    with explain_os_errors(path), path.open("wb") as file:
        if mime == "audio/wav":
            _write_wav(sound, file, chapters)
        else:
            _pack(sound, file, mime, chapters)
        file.flush()
        os.fsync(file.fileno())


def _write_wav(sound: Recording, file: BinaryIO, chapters: Sequence[Chapter]) -> None:
    """16 bits a sample. What stands before them tells their number, so they are counted as they come."""
    more = _cues(chapters, sound.rate)
    file.write(wav.header(sound.length, sound.channels, sound.rate, more=len(more)))
    for samples in sound.play():
        file.write(wav.packed(samples))
    file.write(more)


def _cues(chapters: Sequence[Chapter], rate: int) -> bytes:
    """The chunk of places in the sound, and the list of what they are called; behind the samples, whose bytes are even in number."""
    if not chapters:
        return b""
    places = [round(chapter.start * rate) for chapter in chapters]
    points = [struct.pack("<II4sIII", number, place, b"data", 0, 0, place) for number, place in enumerate(places, 1)]
    named = [struct.pack("<I", number) + chapter.title.encode() + b"\0" for number, chapter in enumerate(chapters, 1)]
    labels = b"adtl" + b"".join(wav.chunk_of(b"labl", body) for body in named)
    return wav.chunk_of(b"cue ", struct.pack("<I", len(points)) + b"".join(points)) + wav.chunk_of(b"LIST", labels)


def _pack(sound: Recording, file: BinaryIO, mime: str, chapters: Sequence[Chapter]) -> None:
    rate = sounds.rate_for(sounds.CODECS[mime][1], sound.rate)

    def stretches() -> Iterator[Samples]:
        yield from even(resampled(sound.play(), sound.rate, rate, channels=sound.channels), sounds.FRAME)

    sounds.pack(file, stretches(), mime, rate=rate, channels=sound.channels, chapters=chapters)
