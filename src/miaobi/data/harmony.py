"""What music theory says of a score: its key, its chords, and its tones folded into a pentatonic mode.

Keys by the profiles of Temperley (1999) and the last note; chords by templates and the best path through them (Viterbi), as in Sheh & Ellis
(2003) with the probabilities set by hand: chords of the mode, fifths between neighbours and no change are likelier than others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from miaobi.data.scores import NAMES, Key, Note, Score

SCALES: dict[str, tuple[int, ...]] = {  # semitones above the tonic
    "major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10), "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10), "lydian": (0, 2, 4, 6, 7, 9, 11), "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10),
    # 宫 商 角 徵 羽: one row of five tones, begun on each of them
    "gong": (0, 2, 4, 7, 9), "shang": (0, 2, 5, 7, 10), "jue": (0, 3, 5, 8, 10), "zhi": (0, 2, 5, 7, 9), "yu": (0, 3, 5, 7, 10),
}  # fmt: skip
PENTATONIC = ("gong", "shang", "jue", "zhi", "yu")
PARENTS = {  # modes whose melodies fold into a pentatonic one, the nearest first
    "gong": ("major", "lydian"), "shang": ("dorian", "mixolydian"), "jue": ("phrygian", "minor"), "zhi": ("mixolydian", "major"),
    "yu": ("minor", "dorian"),
}  # fmt: skip
CHORDS = {"": (0, 4, 7), "m": (0, 3, 7), "dim": (0, 3, 6), "7": (0, 4, 7, 10)}  # semitones above the root, by quality
QUALITIES = tuple(CHORDS)
_MAJOR = (5.0, 2.0, 3.5, 2.0, 4.5, 4.0, 2.0, 4.5, 2.0, 3.5, 1.5, 4.0)
_MINOR = (5.0, 2.0, 3.5, 4.5, 2.0, 4.0, 2.0, 4.5, 3.5, 2.0, 1.5, 4.0)
_FINAL = 0.25  # what a piece ends on counts as much as so much of a correlation


def estimated_key(score: Score) -> Key:
    """The likeliest key: by how long each tone sounds and what the lowest part ends on."""
    weights = np.zeros(12)
    tuned = [note for part in score.parts if not part.drums for note in part.notes]
    if not tuned:
        return Key(tonic=0)
    for note in tuned:
        weights[note.pitch % 12] += note.duration
    last = max(note.end for note in tuned)
    final = min((note for note in tuned if note.end == last), key=lambda note: note.pitch).pitch % 12
    return max(_fits(weights, final), key=lambda fit: fit[0])[1]


def _fits(weights: NDArray[np.float64], final: int) -> list[tuple[float, Key]]:
    fits = []
    for tonic in range(12):
        turned = np.roll(weights, -tonic)
        bonus = _FINAL * (tonic == final)
        lowered = {  # harmonic minor is no dorian: the sixth must be high and the seventh low
            "dorian": turned[9] > 2 * turned[8] and turned[10] > turned[11],
            "mixolydian": turned[10] > 1.5 * turned[11],
        }
        for mode in ("major", "minor", "dorian", "mixolydian"):
            if not lowered.get(mode, True):
                continue
            profile = np.array(_MAJOR if mode in ("major", "mixolydian") else _MINOR)
            if mode == "mixolydian":
                profile[[10, 11]] = profile[[11, 10]]
            elif mode == "dorian":
                profile[[8, 9]] = profile[[9, 8]]
                profile[[10, 11]] = profile[[11, 10]]
            rare = 0.06 * (mode in ("dorian", "mixolydian"))
            fits.append((float(np.corrcoef(turned, profile)[0, 1]) + bonus - rare, Key(tonic=tonic, mode=mode)))
        for mode in PENTATONIC:
            inside = turned[list(SCALES[mode])].sum() / weights.sum()
            if inside > 0.995 and np.count_nonzero(turned > 0.02 * weights.sum()) == 5:  # five tones and no others
                fits.append((0.95 + bonus, Key(tonic=tonic, mode=mode)))
    return fits


def chord_spans(score: Score) -> list[tuple[int, int]]:
    """(start, stop) of the stretches that have one chord each: half bars where a bar has an even number of beats, else whole bars."""
    beats, unit = score.metre
    halves = 2 if (beats % 4 == 0 or (beats in (2, 6) and unit != 2) or beats == 2) and score.bar >= 2 * score.ticks else 1
    step = score.bar // halves
    return [(at, at + step) for at in range(score.pickup, max(score.pickup + 1, score.end), step)]


def chords_per_bar(metre: tuple[int, int]) -> int:
    """How many chords `chord_spans` gives a bar."""
    beats, unit = metre
    bar = 4 * beats / unit
    return 2 if (beats % 4 == 0 or beats in (2, 6)) and bar >= 2 else 1


def recognised(score: Score, key: Key) -> list[tuple[int, str]]:
    """The likeliest chords, (tick, name) for each of `chord_spans`."""
    spans = chord_spans(score)
    weights = np.zeros((len(spans), 12))
    bass = np.zeros((len(spans), 12))
    lowest = score.parts[-1] if len(score.parts) > 1 else None
    step = spans[0][1] - spans[0][0]
    for part in score.parts:
        if part.drums:
            continue
        for note in part.notes:
            _weigh(weights, note, spans, step)
            if part is lowest:
                _weigh(bass, note, spans, step)
    names, emissions = _emissions(weights / step, bass / step, key)
    path = _best_path(emissions, _transitions(names))
    return [(start, names[state]) for (start, _), state in zip(spans, path)]


def _weigh(weights: NDArray[np.float64], note: Note, spans: Sequence[tuple[int, int]], step: int) -> None:
    """Add how long a note sounds in each span; at its beginning it counts for a half more."""
    first = spans[0][0]
    for place in range(max(0, (note.start - first) // step), min(len(spans), -(-(note.end - first) // step))):
        start, stop = spans[place]
        sounding = min(note.end, stop) - max(note.start, start)
        weights[place, note.pitch % 12] += sounding * (1.5 if note.start == start else 1.0)


def _emissions(weights: NDArray[np.float64], bass: NDArray[np.float64], key: Key) -> tuple[list[str], NDArray[np.float64]]:
    """Names (N,) and scores (spans, N): tones of a chord speak for it, others against it, the bass for its root."""
    scale = {(key.tonic + step) % 12 for step in SCALES[PARENTS[key.mode][0] if key.mode in PARENTS else key.mode]}
    scale |= {(key.tonic + 11) % 12} if key.mode == "minor" else set()
    names, columns = [], []
    for root in range(12):
        for quality in QUALITIES:
            tones = [(root + tone) % 12 for tone in CHORDS[quality]]
            inside = weights[:, tones].sum(axis=1)
            own = inside * 2 - weights.sum(axis=1) + 0.3 * weights[:, root] + 0.6 * bass[:, root]
            strange = sum(tone not in scale for tone in tones)
            prior = {"": 0.0, "m": -0.05, "dim": -0.45, "7": -0.3}[quality] - 0.5 * strange
            degree = (root - key.tonic) % 12
            prior += {0: 0.3, 7: 0.2, 5: 0.15, 9: 0.0, 2: 0.0}.get(degree, -0.1)
            columns.append(own + prior)
            names.append(NAMES[root] + quality)
    return names, np.stack(columns, axis=1)


def _transitions(names: Sequence[str]) -> NDArray[np.float64]:
    """(N, N) scores of going from one chord to the next."""
    roots = np.repeat(np.arange(12), len(QUALITIES))
    steps = (roots[None, :] - roots[:, None]) % 12
    scores = np.where((steps == 5) | (steps == 7), 0.1, 0.0)
    return scores + 0.25 * np.eye(len(names))


def _best_path(emissions: NDArray[np.float64], transitions: NDArray[np.float64]) -> list[int]:
    """Viterbi: the states with the highest summed score."""
    best, back = emissions[0], []
    for row in emissions[1:]:
        reached = best[:, None] + transitions
        back.append(reached.argmax(axis=0))
        best = reached.max(axis=0) + row
    path = [int(best.argmax())]
    for row in reversed(back):
        path.append(int(row[path[-1]]))
    return path[::-1]


def folded(score: Score, mode: str) -> Score:
    """The melody's tones moved to the nearest ones of a pentatonic mode on the same tonic; of two equally near, the one ahead."""
    assert score.key is not None, "a step before this one finds the key"
    tonic, scale = score.key.tonic, SCALES[mode]
    parts = []
    for part in score.parts:
        notes: list[Note] = []
        for place, note in enumerate(part.notes):
            ahead = part.notes[place + 1].pitch if place + 1 < len(part.notes) else note.pitch - 1
            notes.append(replace(note, pitch=_nearest(note.pitch, ahead, tonic, scale)))
        parts.append(replace(part, notes=tuple(notes)))
    return replace(score, parts=tuple(parts), key=Key(tonic=tonic, mode=mode))


def _nearest(pitch: int, ahead: int, tonic: int, scale: Sequence[int]) -> int:
    for distance in range(3):
        fitting = [new for new in (pitch - distance, pitch + distance) if (new - tonic) % 12 in scale]
        if fitting:
            return min(fitting, key=lambda new: abs(ahead - new))
    raise AssertionError("a pentatonic scale has a tone within two semitones")
