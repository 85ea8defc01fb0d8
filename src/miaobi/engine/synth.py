"""Scores to sound: the shipped instruments play a MIDI file, in a room, at one loudness and without clicks.

Every pitch of a part is made once, as long as its longest note, and each note takes what it needs of it: an even rise of at least a
thousandth of a second before it and a release behind it, so nothing begins or ends with a jump. Parts stand from left to right; the room is
a convolution with decaying noise (Moorer, 1979). numpy alone, apart from the decoding of the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError
from miaobi.data.instruments import Instrument, by_program
from miaobi.data.loudness import normalise
from miaobi.data.scores import Note, Part, Score, read_midi, seconds_at
from miaobi.data.sounds import Sound
from miaobi.engine import soundfont, timbres

Wave = NDArray[np.float32]
OnProgress = Callable[[int, int], None]
RISE_SECONDS = 0.0015
ROOM_SECONDS = 1.1
WET = 0.16  # the room's share of the energy
WIDTH = 0.5  # how far to the sides the outer parts stand
MOST_SECONDS = 1800.0
TAIL_SECONDS = 1.6


def render(midi: bytes, *, rate: int = 44100, lufs: float = -16.0, on_progress: OnProgress | None = None) -> Sound:
    """A MIDI file as stereo sound.

    Raises:
        DataError: no MIDI, or music of more than half an hour.
        ArtifactError: the instruments are damaged.
        MissingExtra: symusic or PyAV is not installed.
    """
    return play(read_midi(midi), rate=rate, lufs=lufs, on_progress=on_progress)


def play(score: Score, *, rate: int = 44100, lufs: float = -16.0, on_progress: OnProgress | None = None) -> Sound:
    """`render` for a score that is read already."""
    if score.seconds > MOST_SECONDS:
        raise DataError("the music lasts longer than {minutes} minutes, which is not played", minutes=int(MOST_SECONDS // 60))
    if not 8000 <= rate <= 192000:
        raise DataError("a rate of {rate} is not played; choose 8000 to 192000", rate=rate)
    length = int((score.seconds + TAIL_SECONDS) * rate)
    stereo = np.zeros((length, 2), np.float32)
    places = _places(len(score.parts))
    for number, part in enumerate(score.parts):
        mono = _part(part, score, length, rate)
        stereo += mono[:, None] * np.array(places[number], np.float32)
        if on_progress is not None:
            on_progress(number + 1, len(score.parts))
    stereo = _in_room(stereo, rate)
    return normalise(Sound(samples=_faded(stereo, rate), rate=rate), lufs=lufs)


def _places(num: int) -> list[tuple[float, float]]:
    """Gains of the left and the right channel, of equal power, for each part; the first stands in the middle."""
    found = []
    for number in range(num):
        side = 0.0 if num == 1 or number == 0 else WIDTH * (1 if number % 2 else -1) * (number + 1) / num
        angle = np.pi / 4 * (1 + side)
        found.append((float(np.cos(angle)), float(np.sin(angle))))
    return found


def _part(part: Part, score: Score, length: int, rate: int) -> Wave:
    """A part alone, dry, one channel."""
    ends = seconds_at(score, [tick for note in part.notes for tick in (note.start, note.end)])
    times = list(zip(ends[::2], ends[1::2]))
    mono = np.zeros(length + rate, np.float32)
    if part.drums:
        for note, (start, _) in zip(part.notes, times):
            _add(mono, timbres.drum(note.pitch, rate) * _loudness(note), int(start * rate))
        return mono[:length]
    instrument = by_program(part.program)
    longest: dict[int, float] = {}
    for note, (start, stop) in zip(part.notes, times):
        longest[note.pitch] = max(longest.get(note.pitch, 0.0), stop - start)
    tones = {pitch: _Tone(instrument, pitch, seconds, rate) for pitch, seconds in longest.items()}
    for note, (start, stop) in zip(part.notes, times):
        _add(mono, tones[note.pitch].note(stop - start) * _loudness(note), int(start * rate))
    return mono[:length]


def _add(mono: Wave, wave: Wave, start: int) -> None:
    stop = min(len(mono), start + len(wave))
    mono[start:stop] += wave[: stop - start]


def _loudness(note: Note) -> float:
    return float((note.velocity / 100) ** 1.6)


class _Tone:
    """One pitch of an instrument; its notes are stretches from the beginning with a release of their own."""

    def __init__(self, instrument: Instrument, pitch: int, seconds: float, rate: int) -> None:
        self.rate = rate
        if instrument.sound == "font":
            zone = soundfont.nearest(soundfont.zones()[instrument.name], pitch)
            self.release = zone.fall
            wave, zone = soundfont.played(instrument.name, pitch, seconds + self.release, rate)
            wave = wave * soundfont.envelope(zone, len(wave), rate) * zone.gain
        else:
            self.release = timbres.TIMBRES[instrument.name].release
            wave = timbres.tone(instrument.name, pitch, seconds + self.release, rate)
        rise = min(len(wave), int(RISE_SECONDS * rate))
        wave[:rise] *= np.linspace(0, 1, rise, dtype=np.float32)
        self.wave = wave

    def note(self, seconds: float) -> Wave:
        """A note held so long, and its release."""
        held, fade = int(seconds * self.rate), int(self.release * self.rate)
        wave = self.wave[: held + fade].copy()
        fall = len(wave) - held
        if fall > 0:
            wave[held:] *= np.cos(np.linspace(0, np.pi / 2, fall, dtype=np.float32)) ** 2
        elif len(wave):
            last = min(len(wave), int(0.01 * self.rate))  # the sample ended before the note did
            wave[-last:] *= np.linspace(1, 0, last, dtype=np.float32)
        return wave


def _in_room(stereo: Wave, rate: int) -> Wave:
    """The sound and its echo: noise that dies away, different on both sides, the treble faster than the bass."""
    num = int(ROOM_SECONDS * rate)
    times = np.arange(num) / rate
    noise = np.random.default_rng(0).standard_normal((2, num))
    decay = np.exp(-6.9 * times / ROOM_SECONDS) * np.minimum(1, np.maximum(0, times - 0.008) / 0.02)
    size = 1 << int(np.ceil(np.log2(num)))
    answer = np.fft.rfft(noise * decay, size)
    answer /= 1 + (np.fft.rfftfreq(size, 1 / rate) / 3000) ** 2
    response = np.fft.irfft(answer, size)[:, :num]
    response *= np.sqrt(WET / np.sum(response**2, axis=1, keepdims=True))
    wet = np.stack([_convolved(stereo[:, side], response[side]) for side in (0, 1)], axis=1)
    return np.asarray(stereo + wet, np.float32)


def _convolved(wave: Wave, response: NDArray[np.float64]) -> NDArray[np.float64]:
    """Block by block, so that the transforms stay small (overlap and add)."""
    size = 1 << 17
    step = size - len(response) + 1
    spectrum = np.fft.rfft(response, size)
    result = np.zeros(len(wave) + size)
    for start in range(0, len(wave), step):
        result[start : start + size] += np.fft.irfft(np.fft.rfft(wave[start : start + step], size) * spectrum, size)
    return result[: len(wave)]


def _faded(stereo: Wave, rate: int) -> Wave:
    """The last of the echo fades out before the end."""
    fade = min(len(stereo), int(0.5 * rate))
    stereo[-fade:] *= np.cos(np.linspace(0, np.pi / 2, fade, dtype=np.float32))[:, None] ** 2
    return stereo


def programs_of(score: Score) -> Sequence[str]:
    """The names of the instruments that play each part."""
    return ["drums" if part.drums else by_program(part.program).name for part in score.parts]
