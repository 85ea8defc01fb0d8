"""The shipped samples: read from `builtin/instruments`, looped without a seam, and played at any pitch.

A sample is decoded once and read at the speed that its pitch asks for, by cubic interpolation (Catmull-Rom). Where it loops, the end of the
loop is blended into what stands before its beginning, so that going round is not heard.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.artifact import file_sha256
from miaobi.core.errors import ArtifactError
from miaobi.data.sounds import decode

Wave = NDArray[np.float32]
FOLDER = Path(__file__).parent.parent / "builtin" / "instruments"
SEAM_SECONDS = 0.02  # of the blend at the end of a loop; a short loop has a shorter one
LONGEST_RELEASE, KEPT_UP_RELEASE = 1.2, 0.4  # seconds; what is kept up would run into the next note


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A sample and how it sounds: `cents` above its `root`, and the times and the level of its envelope."""

    root: int
    cents: int
    rate: int
    gain: float
    attack: float
    hold: float
    decay: float
    sustain: float
    release: float
    start: int
    num_bytes: int
    loop: tuple[int, int] | None = None

    @property
    def fall(self) -> float:
        """Seconds that a note sounds on after its end."""
        kept_up = self.loop is not None and (self.sustain > 0.5 or self.decay <= 0)
        return min(KEPT_UP_RELEASE if kept_up else LONGEST_RELEASE, max(0.08, self.release))


@functools.cache
def zones() -> dict[str, tuple[Zone, ...]]:
    """The zones of every instrument, from low to high.

    Raises:
        ArtifactError: the folder is not there or damaged.
    """
    try:
        about = json.loads((FOLDER / "instruments.json").read_text(encoding="utf-8"))
        if file_sha256(FOLDER / "samples.bin") != about["sha256"]:
            raise ValueError("samples.bin is not what was written")
        return {name: tuple(map(_zone, entries)) for name, entries in about["instruments"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError("the instruments in {folder} cannot be read: {error}", folder=FOLDER, error=error) from None


def _zone(entry: dict[str, Any]) -> Zone:
    loop = entry.pop("loop", None)
    return Zone(num_bytes=entry.pop("bytes"), loop=tuple(loop) if loop else None, **entry)


def nearest(found: Sequence[Zone], pitch: int) -> Zone:
    """The zone whose root is nearest; rather the one above, since a sample sounds better slowed down than hurried."""
    return min(found, key=lambda zone: abs(zone.root - pitch) - 0.5 * (zone.root > pitch))


@functools.lru_cache(maxsize=128)
def _decoded(zone: Zone) -> Wave:
    """A zone's samples, the end of its loop blended."""
    with (FOLDER / "samples.bin").open("rb") as file:
        file.seek(zone.start)
        data = file.read(zone.num_bytes)
    wave: Wave = decode(data).samples[:, 0]
    if zone.loop is None:
        return wave
    begin, end = zone.loop
    wave = np.pad(wave[:end], (0, max(0, end - len(wave))))
    seam = min(int(SEAM_SECONDS * zone.rate), (end - begin) // 2, begin)
    if seam > 1:
        blend = np.linspace(0, 1, seam, dtype=np.float32)
        wave[end - seam :] = wave[end - seam :] * (1 - blend) + wave[begin - seam : begin] * blend
    return wave


def played(name: str, pitch: int, seconds: float, rate: int) -> tuple[Wave, Zone]:
    """An instrument's tone without its release, as long as it sounds and at most `seconds`, and its zone."""
    zone = nearest(zones()[name], pitch)
    wave = _decoded(zone)
    speed = 2 ** ((pitch - zone.root + zone.cents / 100) / 12) * zone.rate / rate
    places = np.arange(int(seconds * rate)) * speed
    if zone.loop is None:
        places = places[places < len(wave) - 2]
    else:
        begin, end = zone.loop
        places = np.where(places < end, places, begin + (places - begin) % (end - begin))
    return _read(wave, places, zone.loop), zone


def _read(wave: Wave, places: NDArray[np.floating[Any]], loop: tuple[int, int] | None) -> Wave:
    """The wave between its samples, by cubics through four neighbours."""
    middle = places.astype(np.int64)
    x = (places - middle).astype(np.float32)
    last = len(wave) - 1
    neighbours = [middle - 1, middle, middle + 1, middle + 2]
    if loop is not None:
        begin, end = loop
        neighbours = [np.where(place >= end, place - (end - begin), place) for place in neighbours]
    a, b, c, d = (wave[np.clip(place, 0, last)] for place in neighbours)
    return np.asarray(b + 0.5 * x * (c - a + x * (2 * a - 5 * b + 4 * c - d + x * (3 * (b - c) + d - a))), np.float32)


def envelope(zone: Zone, num: int, rate: int) -> Wave:
    """Rise, hold and fall to the sustained level, `num` samples."""
    times = np.arange(num, dtype=np.float32) / rate
    rise = np.minimum(1, times / zone.attack)
    if zone.decay <= 0 or zone.sustain >= 1:
        return rise
    # soundfonts fall by 100 dB in the time of the decay
    fallen = 10 ** (-5 * np.maximum(0, times - zone.attack - zone.hold) / zone.decay)
    return np.asarray(rise * np.maximum(fallen, zone.sustain), np.float32)
