"""Voices, music, effects and the sounds of clips as one sound of the film's length.

Every part is first brought to a loudness of its own (EBU R128), so that a quiet recording and a loud tune go together; music and clips step
back while somebody speaks; the whole is then brought to the film's loudness without clipping. The gain under speech is a control signal of
a hundred values a second: down before the first word, up again after the last, in decibels and without corners.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from miaobi.apps.common.materials import ROUND
from miaobi.apps.common.plan import Noise, Plan, Voice
from miaobi.apps.common.timeline import Music
from miaobi.data import loudness
from miaobi.data.sounds import Samples, Sound

RATE = 48_000
VOICE, CLIP, MUSIC, EFFECT = -16.0, -18.0, -24.0, -26.0  # LUFS of the parts before the whole is normalised
MOST_GAIN = 18.0  # decibels; what is quieter is hiss
CONTROL = 100  # values a second of the gain under speech
AUDIBLE = -35.0  # decibels below the loudest moment of a voice, that still are speech
BEFORE, AFTER, SMOOTH = 0.25, 0.45, 0.3  # seconds: down before speech, held over its pauses, and smoothed over
CLIP_DUCK = 12.0  # decibels that a clip's own sound steps back under a narration
CROSSFADE = 1.0  # seconds in which a piece of music begins again under its own end


def mix(plan: Plan, noises: Sequence[tuple[Noise, Sound]], *, music: tuple[Music, Sound] | None, lufs: float) -> Sound | None:
    """The film's sound in stereo; None when nothing is heard."""
    if not (plan.voices or noises or music):
        return None
    length = round(plan.seconds * RATE)
    speech = voices_track(plan.voices, length)
    whole = speech.copy()
    for noise, sound in noises:
        part = _noise(noise, sound)
        if noise.effect is None and plan.voices:
            part = part * _at(ducking(speech, CLIP_DUCK), noise.start, len(part))[:, None]
        add(whole, part, noise.start)
    if music is not None:
        whole += _music(*music, length, ducking(speech, music[0].duck))
    return loudness.normalise(Sound(whole, RATE), lufs)


def voices_track(voices: Sequence[Voice], length: int) -> Samples:
    """All narrations at their times (length, 2)."""
    track = np.zeros((length, 2), np.float32)
    for voice in voices:
        add(track, levelled(voice.speech.sound, VOICE + voice.narration.volume), voice.start)
    return track


def ducking(speech: Samples, decibels: float) -> NDArray[np.float32]:
    """The gain (length,) that leaves room for speech: 1 where nobody speaks, so many decibels less where somebody does."""
    step = RATE // CONTROL
    energies = _by_step((speech**2).mean(axis=1), step)
    loudest = float(energies.max(initial=0.0))
    if not loudest or not decibels:
        return np.ones(len(speech), np.float32)
    active = energies > loudest * 10 ** (AUDIBLE / 10)
    half = round(SMOOTH * CONTROL / 2)
    ahead, behind = round(BEFORE * CONTROL) + half, round(AFTER * CONTROL) + half
    counts = np.concatenate([[0], np.cumsum(np.pad(active.astype(np.int64), (behind, ahead)))])
    held = (counts[ahead + behind + 1 :] - counts[: -(ahead + behind + 1)]) > 0  # speech within reach
    window = np.hanning(2 * half + 3)[1:-1]
    smooth = np.convolve(np.pad(held.astype(np.float64), half, mode="edge"), window / window.sum(), mode="valid")
    places = (np.arange(len(smooth)) + 0.5) * step
    gains = np.interp(np.arange(len(speech)), places, -decibels * smooth)
    return (10 ** (gains / 20)).astype(np.float32)


def _by_step(values: NDArray[np.float32], step: int) -> NDArray[np.float64]:
    """The mean of every `step` values; the last may be of fewer."""
    padded = np.pad(values.astype(np.float64), (0, -len(values) % step))
    means: NDArray[np.float64] = padded.reshape(-1, step).mean(axis=1)
    return means


def _music(music: Music, sound: Sound, length: int, gain: NDArray[np.float32]) -> Samples:
    """Music for the whole film, fading at both ends, under the gain."""
    samples = levelled(sound, MUSIC + music.volume)
    track = _repeated(samples, length) if music.repeat else np.pad(samples[:length], ((0, max(0, length - len(samples))), (0, 0)))
    return _faded(track, music.fade_in, music.fade_out) * gain[:, None]


def _repeated(samples: Samples, length: int) -> Samples:
    """Again and again, each time begun under the end of the time before."""
    if len(samples) >= length:
        return samples[:length]
    over = min(round(CROSSFADE * RATE), len(samples) // 4)
    track = np.zeros((length, samples.shape[1]), np.float32)
    rise = np.sqrt(np.linspace(0, 1, over, dtype=np.float32))[:, None]  # both together keep their power
    for number, start in enumerate(range(0, length, len(samples) - over)):
        piece = samples.copy()
        piece[:over] *= rise if number else 1
        piece[len(piece) - over :] *= rise[::-1]
        add(track, piece, start / RATE)
    return track


def _noise(noise: Noise, sound: Sound) -> Samples:
    """An effect, or a clip's sound, as long and as loud as it should be."""
    level = (EFFECT if noise.effect else CLIP) + noise.volume
    length = round(noise.seconds * RATE)
    samples = levelled(sound, level)
    if noise.effect is not None and not noise.effect.file:
        samples = _looped(samples, length)
    samples = samples[:length]
    return _faded(samples, noise.fade, noise.fade)


def _looped(samples: Samples, length: int) -> Samples:
    """A sound whose end goes over into its beginning, as long as wanted."""
    return np.tile(samples, (-(-length // max(1, len(samples))), 1)) if len(samples) >= ROUND * RATE - 1 else samples


def levelled(sound: Sound, lufs: float) -> Samples:
    """In stereo, at the mixing rate and at a loudness; a part is not limited, the whole is."""
    sound = sound.resampled(RATE)
    short = lufs - loudness.integrated(sound)
    gain = 10 ** (min(short, MOST_GAIN) / 20) if np.isfinite(short) else 0.0
    samples = sound.samples if sound.channels == 2 else sound.mono().samples.repeat(2, axis=1)
    return samples * np.float32(gain)


def _faded(samples: Samples, first: float, last: float) -> Samples:
    """Rising over `first` seconds and falling over the `last`; never more than half of it each."""
    faded = samples.copy()
    for seconds, turned in ((first, False), (last, True)):
        count = min(round(seconds * RATE), len(faded) // 2)
        ramp = (0.5 - 0.5 * np.cos(np.linspace(0, np.pi, count, dtype=np.float32)))[:, None]
        if count and turned:
            faded[-count:] *= ramp[::-1]
        elif count:
            faded[:count] *= ramp
    return faded


def add(track: Samples, samples: Samples, start: float) -> None:
    """Add samples to a track from `start` seconds on, as far as it goes."""
    begin = round(start * RATE)
    room = track[begin : begin + len(samples)]
    room += samples[: len(room)]


def _at(gain: NDArray[np.float32], start: float, count: int) -> NDArray[np.float32]:
    """`count` values from `start` seconds on; the last goes on."""
    begin = round(start * RATE)
    return np.pad(gain[begin : begin + count], (0, max(0, count - len(gain[begin : begin + count]))), mode="edge")
