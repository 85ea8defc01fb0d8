"""Voices, music, effects and the sounds of clips as one sound of the film's length.

Every part is first brought to a loudness of its own (EBU R128), so that a quiet recording and a loud tune go together; music and clips step
back while somebody speaks; the whole is then brought to the film's loudness without clipping. The gain under speech is a control signal of
a hundred values a second: down before the first word, up again after the last, in decibels and without corners.

Two seconds are mixed at a time. The loudness of the whole must be known before a sample of it is, so the sum lies in a file until the film
is written (23 MB a minute); whatever is heard is decoded as often as it is needed and never held.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from miaobi.apps.common.materials import ROUND
from miaobi.apps.common.plan import Noise, Plan
from miaobi.apps.common.timeline import Music
from miaobi.data import loudness
from miaobi.data.recordings import Recording, Tape, shaped
from miaobi.data.sounds import Samples

RATE, CHANNELS = 48_000, 2
VOICE, CLIP, MUSIC, EFFECT = -16.0, -18.0, -24.0, -26.0  # LUFS of the parts before the whole is normalised
MOST_GAIN = 18.0  # decibels; what is quieter is hiss
CONTROL = 100  # values a second of the gain under speech
STEP = RATE // CONTROL
BLOCK = 2 * RATE  # samples mixed at a time: whole steps of the gain
AUDIBLE = -35.0  # decibels below the loudest moment of a voice, that still are speech
BEFORE, AFTER, SMOOTH = 0.25, 0.45, 0.3  # seconds: down before speech, held over its pauses, and smoothed over
CLIP_DUCK = 12.0  # decibels that a clip's own sound steps back under a narration
CROSSFADE = 1.0  # seconds in which a piece of music begins again under its own end
SPOOL = "mixed.tmp"


@dataclass(frozen=True, slots=True)
class Part:
    """What is heard from sample `start` on, in stereo at the mixing rate; `duck` decibels quieter while somebody speaks."""

    start: int
    sound: Recording
    duck: float = 0.0

    @property
    def end(self) -> int:
        """The sample behind its last."""
        return self.start + self.sound.length


def mix(
    plan: Plan, noises: Sequence[tuple[Noise, Recording]], *, music: tuple[Music, Recording] | None, lufs: float, room: Path
) -> Recording | None:
    """The film's sound; None when nothing is heard. `room` is a folder that stays until it was heard."""
    if not (plan.voices or noises or music):
        return None
    length = round(plan.seconds * RATE)
    voices = [spoken(voice.speech.sound, voice.start, VOICE + voice.narration.volume) for voice in plan.voices]
    parts = [Part(round(noise.start * RATE), _noise(noise, sound), 0.0 if noise.effect else CLIP_DUCK) for noise, sound in noises]
    if music is not None:
        parts.append(Part(0, _music(*music, length), music[0].duck))
    return mixed(voices, parts, length, lufs=lufs, room=room)


def spoken(sound: Recording, start: float, lufs: float) -> Part:
    """A voice from `start` seconds on."""
    return Part(round(start * RATE), levelled(sound, lufs))


def mixed(voices: Sequence[Part], others: Sequence[Part], length: int, *, lufs: float, room: Path) -> Recording:
    """Voices, and what steps back under them, as one sound at a loudness; see `mix` for `room`."""
    ducking = Ducking(_summed(voices, length))
    room.mkdir(parents=True, exist_ok=True)
    path = room / SPOOL
    with path.open("wb") as file:
        for block in _summed([*voices, *others], length, ducking):
            file.write(block.tobytes())
    balanced = loudness.balanced(functools.partial(_spooled, path), RATE, lufs)
    return Recording(play=balanced, rate=RATE, channels=CHANNELS, length=length)


def _spooled(path: Path) -> Iterator[Samples]:
    with path.open("rb") as file:
        while block := file.read(BLOCK * CHANNELS * 4):
            yield np.frombuffer(block, np.float32).reshape(-1, CHANNELS)


def _summed(parts: Sequence[Part], length: int, ducking: Ducking | None = None) -> Iterator[Samples]:
    """The parts at their times, block by block, as far as `length` goes. A part is opened when it begins and closed when it is over."""
    waiting = sorted(range(len(parts)), key=lambda number: parts[number].start, reverse=True)
    heard: dict[int, Tape] = {}
    for begin in range(0, length, BLOCK):
        block = np.zeros((min(BLOCK, length - begin), CHANNELS), np.float32)
        end = begin + len(block)
        while waiting and parts[waiting[-1]].start < end:
            number = waiting.pop()
            heard[number] = Tape(parts[number].sound.play(), CHANNELS)
        for number in sorted(heard):
            part = parts[number]
            first, last = max(begin, part.start), min(end, part.end)
            samples = heard[number].read(max(0, last - first))
            if part.duck and ducking is not None:
                samples = samples * ducking.gain(part.duck, first, last)[:, None]
            block[first - begin : last - begin] += samples
            if part.end <= end:
                del heard[number]
        yield block


class Ducking:
    """The gain that leaves room for speech: 1 where nobody speaks, so many decibels less where somebody does."""

    def __init__(self, speech: Iterable[Samples]) -> None:
        """`speech` comes in stretches (T, 2), each but the last of whole steps."""
        levels = [_by_step((samples**2).mean(axis=1)) for samples in speech]
        energies = np.concatenate([np.zeros(0), *levels])
        loudest = float(energies.max(initial=0.0))
        self._speaking = _held(energies > loudest * 10 ** (AUDIBLE / 10)) if loudest else np.zeros(len(energies))
        self._places = (np.arange(len(self._speaking)) + 0.5) * STEP

    def gain(self, decibels: float, first: int, last: int) -> NDArray[np.float32]:
        """The gain (last - first,) from sample `first` on."""
        near = slice(max(0, first // STEP - 2), last // STEP + 2)  # np.interp needs no more of a signal of hours
        gains = np.interp(np.arange(first, last), self._places[near], -decibels * self._speaking[near])
        return (10 ** (gains / 20)).astype(np.float32)


def _held(active: NDArray[np.bool_]) -> NDArray[np.float64]:
    """1 where speech is within reach, 0 where it is not, and smoothly from one to the other."""
    half = round(SMOOTH * CONTROL / 2)
    ahead, behind = round(BEFORE * CONTROL) + half, round(AFTER * CONTROL) + half
    counts = np.concatenate([[0], np.cumsum(np.pad(active.astype(np.int64), (behind, ahead)))])
    held = (counts[ahead + behind + 1 :] - counts[: -(ahead + behind + 1)]) > 0
    window = np.hanning(2 * half + 3)[1:-1]
    return np.convolve(np.pad(held.astype(np.float64), half, mode="edge"), window / window.sum(), mode="valid")


def _by_step(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mean of every step; the last may be shorter."""
    padded = np.pad(values.astype(np.float64), (0, -len(values) % STEP))
    means: NDArray[np.float64] = padded.reshape(-1, STEP).mean(axis=1)
    return means


def _music(music: Music, sound: Recording, length: int) -> Recording:
    """Music for the whole film, fading at both ends."""
    samples = levelled(sound, MUSIC + music.volume)
    return _faded(_repeated(samples, length) if music.repeat else _cut(samples, length), music.fade_in, music.fade_out)


def _repeated(samples: Recording, length: int) -> Recording:
    """Again and again, each time begun under the end of the time before."""
    if samples.length >= length or not samples.length:
        return _cut(samples, length)
    over = min(round(CROSSFADE * RATE), samples.length // 4)
    rise = np.sqrt(np.linspace(0, 1, over, dtype=np.float32))  # both together keep their power
    first, again = (_shaped(samples, begin, rise[::-1]) for begin in (rise[:0], rise))
    parts = [Part(start, again if start else first) for start in range(0, length, samples.length - over)]
    return Recording(play=lambda: _summed(parts, length), rate=RATE, channels=CHANNELS, length=length)


def _noise(noise: Noise, sound: Recording) -> Recording:
    """An effect, or a clip's sound, as long and as loud as it should be."""
    level = (EFFECT if noise.effect else CLIP) + noise.volume
    length = round(noise.seconds * RATE)
    samples = levelled(sound, level)
    if noise.effect is not None and not noise.effect.file:
        samples = _looped(samples, length)
    return _faded(_cut(samples, min(length, samples.length)), noise.fade, noise.fade)


def _looped(samples: Recording, length: int) -> Recording:
    """A sound whose end goes over into its beginning, as long as wanted."""
    if samples.length < ROUND * RATE - 1:
        return samples
    times = -(-length // samples.length)

    def play() -> Iterator[Samples]:
        for _ in range(times):
            yield from samples.play()

    return Recording(play=play, rate=RATE, channels=CHANNELS, length=times * samples.length)


def levelled(sound: Recording, lufs: float) -> Recording:
    """In stereo, at the mixing rate and at a loudness; a part is not limited, the whole is."""
    meter = loudness.measured(sound.at(RATE), RATE)
    short = lufs - meter.integrated()
    gain = np.float32(10 ** (min(short, MOST_GAIN) / 20) if np.isfinite(short) else 0.0)

    def play() -> Iterator[Samples]:
        for samples in sound.at(RATE):
            yield _stereo(samples) * gain

    return Recording(play=play, rate=RATE, channels=CHANNELS, length=meter.num_samples)


def _stereo(samples: Samples) -> Samples:
    """(T, 2): one channel stands on both sides, more than two are mixed to one first."""
    if samples.shape[1] == CHANNELS:
        return samples
    mono = samples if samples.shape[1] == 1 else samples.mean(axis=1, keepdims=True, dtype=np.float32)
    return mono.repeat(CHANNELS, axis=1)


def _cut(samples: Recording, length: int) -> Recording:
    """Its beginning; silence behind its end when it is shorter."""
    return Recording(play=lambda: Tape(samples.play(), CHANNELS).stretches(length), rate=RATE, channels=CHANNELS, length=length)


def _faded(samples: Recording, first: float, last: float) -> Recording:
    """Rising over `first` seconds and falling over the `last`; never more than half of it each."""
    ramps = []
    for seconds in (first, last):
        count = min(round(seconds * RATE), samples.length // 2)
        ramps.append((0.5 - 0.5 * np.cos(np.linspace(0, np.pi, count, dtype=np.float32))).astype(np.float32))
    return _shaped(samples, ramps[0], ramps[1][::-1])


def _shaped(samples: Recording, begin: NDArray[np.float32], end: NDArray[np.float32]) -> Recording:
    """A sound whose first and last samples are multiplied by these."""

    def play() -> Iterator[Samples]:
        return shaped(samples.play(), samples.length, begin, end)

    return Recording(play=play, rate=RATE, channels=CHANNELS, length=samples.length)
