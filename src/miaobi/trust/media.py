"""Sounds, films and scores whose label is in the file, or beside it: what they hash to, their label put in and read back.

What is hashed is what is heard, seen or played, so that a label, a title or a cover does not change it: the samples of WAV and FLAC, the
compressed packets of the lossy formats (see `trust.streams`), the bytes of a MIDI file, the text of a score without its labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from miaobi.core.errors import DataError
from miaobi.core.types import NOTHING, Modality
from miaobi.trust import aigc, containers, stored, streams, tags, wav
from miaobi.trust.formats import json_line, json_mapping
from miaobi.trust.stored import Data
from miaobi.trust.streams import Samples

MIDI, MUSICXML = "audio/midi", "application/vnd.recordare.musicxml+xml"
SUFFIXES = {
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".oga": "audio/ogg",
    ".m4a": "audio/mp4",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/mp4",
    ".webm": "video/webm",
    ".mid": MIDI,
    ".midi": MIDI,
    ".musicxml": MUSICXML,
}
SIGNATURES = (  # (offset, bytes, mime); RIFF is looked at by `wav`
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"MThd", MIDI),
)
HEAD = 4096  # bytes that tell what a file is
MOST_SAMPLES = 256_000_000  # held in memory at once
MOST_HEARD = 16 * MOST_SAMPLES  # gone through stretch by stretch: a few kilobytes of silence could stand for years
_EXACT = ("audio/wav", "audio/flac")  # they decode to the same samples everywhere, so those are hashed


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedMedia:
    """What a file says about itself, nothing judged. `count` is the number of implicit labels in it; one is right."""

    mime: str
    sha256: str
    data: Data = field(repr=False, compare=False)
    implicit: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    label: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    count: int = 0

    @property
    def modality(self) -> Modality:
        """Sound, film or score."""
        return modality_of(self.mime)


def modality_of(mime: str) -> Modality:
    """What a kind of file is."""
    if mime in (MIDI, MUSICXML):
        return Modality.MUSIC
    return Modality.AUDIO if mime.startswith("audio/") else Modality.VIDEO


def mime_of(data: Data) -> str:
    """What the first bytes say that a file is, whatever it is named; empty when it is none of these kinds."""
    data = data[:HEAD]
    if wav.is_wav(data):
        return "audio/wav"
    found = next((mime for offset, magic, mime in SIGNATURES if data[offset : offset + len(magic)] == magic), "")
    if not found and b"<score-partwise" in data:
        return MUSICXML
    bare = len(data) > 2 and data[0] == 0xFF and data[1] & 0xE6 in (0xE2, 0xE4)  # the sync word of MPEG layer II or III
    return found or ("audio/mpeg" if bare else "")


def is_medium(mime: str) -> bool:
    """Whether files of the kind are labelled here: sounds, films and scores, but not pictures that move."""
    return tags.has_place(mime) or mime == MIDI


def read(data: Data, mime: str, *, sidecar: bytes = b"") -> MarkedMedia:
    """The labels of a file of that kind; `sidecar` is the file beside it that holds those of MIDI.

    Raises:
        DataError: damaged or cut off.
        MissingExtra: a package for the format is not installed.
    """
    if not len(data):
        raise DataError("the file is empty")
    found = _beside(sidecar) if mime == MIDI else tags.read(data, mime)
    labels, own = found.get("AIGC", ()), found.get("miaobi", ())
    return MarkedMedia(
        mime=mime,
        sha256=sha256(data, mime),
        data=data,
        implicit=next(filter(None, map(aigc.parse, labels)), NOTHING),
        label=json_mapping(own[0]) if own else NOTHING,
        count=len(labels),
    )


def embed(data: bytes, mime: str, implicit: Mapping[str, str], label: Mapping[str, Any]) -> bytes:
    """The same file with these labels in place of any that it had; a MIDI file has no place for them and stays as it is."""
    if mime == MIDI:
        return data
    return tags.write(data, mime, _texts(implicit, label))


def embed_to(target: BinaryIO, data: Data, mime: str, implicit: Mapping[str, str], label: Mapping[str, Any]) -> None:
    """`embed` into a file, of which hardly more than a block is held in memory."""
    tags.write_to(target, data, mime, _texts(implicit, label))


def _texts(implicit: Mapping[str, str], label: Mapping[str, Any]) -> Mapping[str, str]:
    return {"AIGC": json.dumps(dict(implicit), separators=(",", ":")), "miaobi": json_line(label)}


def beside(implicit: Mapping[str, str], label: Mapping[str, Any]) -> str:
    """The sidecar of a MIDI file: both labels as JSON."""
    return json.dumps({"AIGC": dict(implicit), "miaobi": label}, ensure_ascii=False, indent=2, default=dict) + "\n"


def sha256(data: Data, mime: str) -> str:
    """SHA-256 over what is heard, seen or played.

    Raises:
        DataError: damaged or cut off.
        MissingExtra: it is compressed, and PyAV is not installed.
    """
    if mime in _EXACT:
        return _of_samples(blocks(data))
    if mime == MUSICXML:
        from miaobi.trust.tags.musicxml import without

        return hashlib.sha256(without(stored.whole(data).decode("utf-8", "replace")).encode()).hexdigest()
    return hashlib.sha256(stored.whole(data)).hexdigest() if mime == MIDI else streams.packets_sha256(data)


def _of_samples(heard: Iterator[tuple[Samples, int]]) -> str:
    """Over channels, rate and samples."""
    digest = None
    for samples, rate in heard:
        digest = digest or hashlib.sha256(b"%d channels at %d Hz" % (samples.shape[1], rate))
        digest.update(np.ascontiguousarray(samples, "<f4").reshape(-1).data)
    if digest is None:
        raise DataError("the sound is empty")
    return digest.hexdigest()


def decode(data: Data) -> tuple[Samples, int]:
    """The samples (T, C) of a sound, or of the sound of a film, and how many a second; raises as `sha256` does."""
    return wav.decode(data) if wav.is_wav(data) else streams.samples(data, most=MOST_SAMPLES)


def blocks(data: Data) -> Iterator[tuple[Samples, int]]:
    """What `decode` gives, stretch by stretch."""
    return wav.blocks(data) if wav.is_wav(data) else streams.blocks(data, most=MOST_HEARD)


def length(data: Data) -> tuple[int, int, int]:
    """How many samples `decode` gives, of how many channels, and how many a second."""
    if wav.is_wav(data):
        return wav.num_samples(data)
    found = [(*samples.shape, rate) for samples, rate in blocks(data)]
    return sum(count for count, *_ in found), found[-1][1], found[-1][2]


def beginning(data: Data, seconds: float) -> tuple[Samples, int]:
    """The first seconds of what `decode` gives."""
    found: list[Samples] = []
    rate = left = 0
    for samples, rate in blocks(data):
        left = left or round(seconds * rate)
        found.append(samples[:left])
        left -= len(samples)
        if left <= 0:
            break
    return np.concatenate(found), rate


def suffix_of(mime: str) -> str:
    """The usual file ending of a kind, of pictures too; `.bin` for kinds that carry no label."""
    return next((suffix for suffix, kind in (SUFFIXES | containers.SUFFIXES).items() if kind == mime), ".bin")


def is_ours(path: Path) -> bool:
    """Whether a file is called like a sound, a film or a score."""
    return path.suffix.lower() in SUFFIXES


def _beside(sidecar: bytes) -> Mapping[str, Sequence[str]]:
    """The texts of a sidecar as the formats with a place of their own give them."""
    values = json_mapping(sidecar.decode("utf-8", "replace"))
    return {name: [json.dumps(values[name])] for name in tags.NAMES if isinstance(values.get(name), dict)}
