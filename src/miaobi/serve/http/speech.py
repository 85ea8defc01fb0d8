"""Speech as it is made: a text cut into sentences, and one file written piece by piece, its label at its beginning.

A file that is sent before it is whole cannot say how long it is: WAV gets the greatest length there is, MP3 and Ogg need none.
"""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import MissingExtra
from miaobi.core.language import tr
from miaobi.data.sounds import RATES, Sound

PAUSE_SECONDS = 0.3  # between two sentences
MIMES: Final[Mapping[str, str]] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "aac": "audio/aac",
}
_CODECS = {  # format: container, codec, bits a second
    "mp3": ("mp3", "libmp3lame", 96_000),
    "opus": ("ogg", "libopus", 64_000),
    "flac": ("flac", "flac", 0),
    "aac": ("adts", "aac", 96_000),
}
_END = re.compile(r"(?<=[。！？；!?\n])|(?<=[.;])\s+")
_SHORTEST = 12  # letters; what is shorter joins the next sentence


def sentences(text: str) -> list[str]:
    """The text in pieces that are spoken one after the other; joined they are the text again, but for spaces."""
    found: list[str] = []
    for piece in filter(None, (piece.strip() for piece in _END.split(text))):
        if found and len(found[-1]) < _SHORTEST:
            found[-1] += f" {piece}"
        else:
            found.append(piece)
    return found or [text]


class Writer:
    """A sound file that grows; `add` gives the bytes that are new."""

    def __init__(self, format: str, rate: int, label: Mapping[str, str]) -> None:
        self.format, self.label = format, label
        self._out = io.BytesIO()
        self._container: Any = None
        if format in _CODECS:
            self.rate = self._open(rate)
        else:
            self.rate = rate
            if format == "wav":
                self._out.write(_wav_head(rate, label))

    def _open(self, rate: int) -> int:
        """Begin a compressed file; returns the rate that it is in."""
        try:
            import av
        except ImportError:
            raise MissingExtra(tr("this kind of sound"), "sound", "av") from None
        container, codec, bitrate = _CODECS[self.format]
        fitting = next((known for known in RATES.get(codec, (rate,)) if known >= rate), RATES.get(codec, (rate,))[-1])
        fitting = 48_000 if codec == "libopus" else fitting
        options = {"mp3": {"write_xing": "0"}, "ogg": {"page_duration": "200000"}}.get(container, {})
        self._container = av.open(_Pipe(self._out), "w", format=container, options=options)
        self._stream = self._container.add_stream(codec, rate=fitting, layout="mono")
        if bitrate:
            self._stream.bit_rate = bitrate
        where = self._stream if container == "ogg" else self._container
        where.metadata["AIGC"] = json.dumps(dict(self.label), separators=(",", ":"))
        return fitting

    def add(self, sound: Sound) -> bytes:
        """Append a sound, mixed to one channel."""
        samples = sound.mono().resampled(self.rate).samples
        whole = np.clip(np.round(samples * 32767), -32768, 32767).astype("<i2")
        if self._container is None:
            self._out.write(whole.tobytes())
        else:
            self._encode(whole)
        return self._taken()

    def _encode(self, samples: NDArray[np.int16]) -> None:
        import av

        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self.rate
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def end(self) -> bytes:
        """The last bytes."""
        if self._container is not None:
            for packet in self._stream.encode(None):
                self._container.mux(packet)
            self._container.close()
        return self._taken()

    def _taken(self) -> bytes:
        """What was written since the last time."""
        data = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return data


class _Pipe:
    """A file that can only be written, so that nothing is changed that was sent already."""

    def __init__(self, out: io.BytesIO) -> None:
        self._out = out

    def write(self, data: bytes) -> int:
        return self._out.write(data)


def _wav_head(rate: int, label: Mapping[str, str]) -> bytes:
    """RIFF with 16-bit mono, the chunk `AIGC`, and data of unknown length."""
    text = json.dumps(dict(label), separators=(",", ":")).encode()
    aigc = b"AIGC" + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2)
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    return b"RIFF\xff\xff\xff\xffWAVE" + form + aigc + b"data\xff\xff\xff\xff"


def pcm(sound: Sound) -> bytes:
    """Bare samples: 16 bits, little-endian, one channel."""
    return Writer("pcm", sound.rate, {}).add(sound)
