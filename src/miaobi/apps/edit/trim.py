"""`edit trim`: long silences of a film or a sound become short ones.

What is silent is judged against the recording itself: so many decibels below its loud passages (the 95th percentile of 20 ms), since one
room's silence is another room's noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.apps.edit.pieces import (
    Job,
    Stretch,
    about,
    check_film,
    existing,
    film_of,
    frames_in,
    in_frames,
    is_film,
    length_of,
    recording_of,
    reopened,
    sound_in,
    ticking,
    write_file,
)
from miaobi.apps.edit.schema import Trim
from miaobi.core.apps import Desk
from miaobi.core.errors import DataError
from miaobi.data import sound_writer
from miaobi.data.recordings import Recording, even

STEP = 0.02  # seconds
ROWS = 500  # steps that are measured at a time


def run(inputs: Trim, out: Path, desk: Desk, /) -> Mapping[str, Any]:
    """The film or sound without its long silences, at `out`.

    Raises:
        DataError: the film has no sound, or there is nothing but silence.
        UsageError: `out` has an ending of another kind of file.
    """
    path = existing(inputs.file)
    film = is_film(path)
    if film:
        check_film(out)
    else:
        sound_writer.check(out)
    sound = recording_of(path)
    if sound is None:
        raise DataError("{path} has no sound, so it has no silences", path=path)
    kept = audible(sound, below=inputs.below, longer=inputs.longer, leave=inputs.leave)
    if not kept:
        raise DataError("{path} is silent from start to end", path=path)
    job = Job(app="trim", source=path, inputs=inputs)
    if film:
        before, kept = _film(path, sound, kept, out, job, desk)
    else:
        before = sound.seconds
        shortened = sound_in(sound, kept)
        write_file(out, lambda bare: sound_writer.write(shortened, bare), job)
    after = sum(each.seconds for each in kept)
    pieces = [{"start": round(each.start, 3), "end": round(each.end, 3)} for each in kept]
    return {"out": str(out), "before": round(before, 3), "after": round(after, 3), "kept": pieces}


def _film(path: Path, sound: Recording, kept: list[Stretch], out: Path, job: Job, desk: Desk) -> tuple[float, list[Stretch]]:
    """Write the film; its pictures go on to their end when the sound ends early."""
    info = about(path)
    before = length_of(path, info)
    kept = in_frames([Stretch(each.start, min(each.end, before)) for each in kept], info.fps)
    total = round(sum(each.seconds for each in kept) * info.fps)

    def write(bare: Path) -> None:
        frames = reopened(frames_in(path, kept, info.fps), path, kept, info.fps)
        film_of(bare, ticking(frames, desk, total), info=info, sound=sound_in(sound, kept))

    write_file(out, write, job)
    return before, kept


def audible(sound: Recording, *, below: float, longer: float, leave: float) -> list[Stretch]:
    """What stays: everything but silences longer than `longer` seconds, of which `leave` seconds stay."""
    step = max(1, round(STEP * sound.rate))
    levels = _levels(sound, step)
    loud = np.percentile(levels, 95)
    if loud < -90:
        return []
    heard = np.concatenate([[False], levels > loud - below, [False]])
    edges = np.flatnonzero(heard[1:] != heard[:-1]).reshape(-1, 2) * step / sound.rate  # (N, 2) start and end of what is heard
    kept: list[Stretch] = []
    for start, end in edges.tolist():
        if kept and start - kept[-1].end <= longer:
            kept[-1] = Stretch(kept[-1].start, end)
        else:
            kept.append(Stretch(start, end))
    if kept[0].start <= longer:
        kept[0] = Stretch(0.0, kept[0].end)
    if sound.seconds - kept[-1].end <= longer:
        kept[-1] = Stretch(kept[-1].start, sound.seconds)
    half = min(leave, longer) / 2
    return [Stretch(max(0.0, each.start - half), min(sound.seconds, each.end + half)) for each in kept]


def _levels(sound: Recording, step: int) -> NDArray[np.float64]:
    """How loud every `step` samples are, in dB of full scale."""
    found = []
    for samples in even(sound.play(), ROWS * step):
        mono = samples.mean(axis=1, dtype=np.float32).astype(np.float64)
        energies = np.pad(mono, (0, -len(mono) % step)).reshape(-1, step)
        found.append(10 * np.log10((energies**2).mean(axis=1) + 1e-12))
    return np.concatenate(found)
