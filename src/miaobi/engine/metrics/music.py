"""How music that a model writes compares with held-out music: likelihood, histograms of tones and steps, form, mode, and what it copies.

Histograms are compared by their overlap (Yang & Lerch, 2020): 1 is the same distribution, 0 none in common. Held-out pieces are measured
beside (`real`), against as many training pieces, which is what a perfect model would reach; and pieces without the grammar (`free`), which
show what the model has learned by itself.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from miaobi.core.errors import DataError
from miaobi.core.types import Media, Modality, Record
from miaobi.data.harmony import SCALES
from miaobi.data.scores import Score, read_midi
from miaobi.engine.metrics import Evidence, Figure, Sample, Unmeasurable, metric
from miaobi.engine.metrics.confidence import ratio, statistic
from miaobi.trust.originality import SpanIndex

FREE: Mapping[str, Mapping[str, Any]] = {"free": {"free": True, "candidates": 1}}
_FIRST_LETTER = 0x4E00  # steps of melodies become Han characters, which the index of spans takes for letters
_HALF = 2


@metric("bits_per_event", needs=["scores"])
def bits_per_event(evidence: Evidence) -> Figure:
    """How many bits the model needs for an event (a pitch, an end of a note, a chord, a bar) of held-out music."""
    scores = [score for score in evidence.scores if score.tokens]
    if not scores:
        raise Unmeasurable("the likelihoods are not over events")
    return ratio(
        [score.bits for score in scores], [score.tokens for score in scores], seed=evidence.seed, unit="bits/event", better="lower"
    )


@metric("pitch_classes", needs=["samples", "training"], variants=FREE)
def pitch_classes(evidence: Evidence) -> dict[str, Figure]:
    """The overlap of the histograms of tones above the tonic, of made and of held-out melodies."""
    return _overlaps(evidence, tones)


@metric("intervals", needs=["samples", "training"], variants=FREE)
def intervals(evidence: Evidence) -> dict[str, Figure]:
    """The overlap of the histograms of steps from note to note, of made and of held-out melodies."""
    return _overlaps(evidence, steps)


@metric("full_bars", needs=["samples"], variants=FREE)
def full_bars(evidence: Evidence) -> dict[str, Figure]:
    """The share of bars that were written and are filled to their end in every part."""
    figures = {}
    for variant in ("", *FREE):
        samples = evidence.samples.get(variant, ())
        told = [int(sample.notes.get("bars_told", 0)) for sample in samples]
        full = [int(sample.notes.get("bars_full", 0)) for sample in samples]
        if sum(told):
            figures[variant] = ratio(full, told, seed=evidence.seed, unit="share", better="higher")
    if "" not in figures:
        raise Unmeasurable("the model does not say how many bars it wrote")
    return figures


@metric("in_mode", needs=["samples"], variants=FREE)
def in_mode(evidence: Evidence) -> dict[str, Figure]:
    """The share of a melody's time that its tones are of the mode that was asked for."""
    sets = {variant: [score for score, _ in _made(samples)] for variant, samples in evidence.samples.items() if variant in ("", *FREE)}
    sets["real"] = [score for score in map(_score, evidence.records) if score is not None]
    figures = {}
    for name, found in sets.items():
        inside = [sum(note.duration for note in score.parts[0].notes if _in_scale(note.pitch, score)) for score in found]
        whole = [sum(note.duration for note in score.parts[0].notes) for score in found]
        if sum(whole):
            figures[name] = ratio(inside, whole, seed=evidence.seed, unit="share", better="higher")
    return figures


@metric("copied_span", needs=["samples", "training"])
def copied_span(evidence: Evidence) -> dict[str, Figure]:
    """The longest run of notes, in any key, that a melody shares with a training melody."""
    letters: dict[Hashable, str] = {}

    def text(score: Score) -> str:
        notes = score.on_grid().parts[0].notes
        found = [(after.pitch - note.pitch, after.start - note.start) for note, after in itertools.pairwise(notes)]
        return "".join(letters.setdefault(step, chr(_FIRST_LETTER + len(letters) % 20_000)) for step in found)

    index = SpanIndex(text(score) for score in map(_score, evidence.training) if score is not None)
    sets = {"": [score for score, _ in _made(evidence.samples.get("", ()))], "real": [s for s in map(_score, evidence.records) if s]}
    figures = {}
    for name, found in sets.items():
        spans = [len(index.longest(text(score)).text) + 1 for score in found if len(score.parts[0].notes) > 1]
        if spans:
            figures[name] = ratio(spans, seed=evidence.seed, unit="notes", better="lower")
            figures[f"{name}_max".lstrip("_")] = Figure(value=max(spans), count=len(spans), unit="notes", better="lower")
    return figures


def tones(score: Score) -> Counter[Hashable]:
    """How long each tone above the tonic sounds, in quarters."""
    tonic = score.key.tonic if score.key else 0
    found: Counter[Hashable] = Counter()
    for note in score.parts[0].notes:
        found[(note.pitch - tonic) % 12] += note.duration / score.ticks  # type: ignore[assignment]
    return found


def steps(score: Score) -> Counter[Hashable]:
    """How often the melody goes each way: semitones up or down, an octave and more are one."""
    notes = score.parts[0].notes
    return Counter(max(-13, min(13, after.pitch - note.pitch)) for note, after in itertools.pairwise(notes))


def overlap(first: Mapping[Hashable, float], second: Mapping[Hashable, float]) -> float:
    """What two histograms have in common, each brought to a sum of 1."""
    one, other = sum(first.values()), sum(second.values())
    if not one or not other:
        return 0.0
    return sum(min(first.get(key, 0) / one, second.get(key, 0) / other) for key in {*first, *second})


def _overlaps(evidence: Evidence, histogram: Callable[[Score], Counter[Hashable]]) -> dict[str, Figure]:
    """Made against held-out pieces; and of training against held-out ones, as the control."""
    asked = [sample.reference for sample in evidence.samples.get("", ()) if sample.reference is not None]
    held_out = [histogram(score) for score in map(_score, asked or evidence.records) if score is not None]
    if not held_out:
        raise Unmeasurable("the held-out records hold no score")
    target = sum(held_out, Counter())
    sets = {
        variant: [histogram(score) for score, _ in _made(samples)]
        for variant, samples in evidence.samples.items()
        if variant in ("", *FREE)
    }
    step = max(1, len(evidence.training) // len(held_out))
    known = (_score(evidence.training[place]) for place in range(0, step * len(held_out), step) if place < len(evidence.training))
    sets["real"] = [histogram(score) for score in known if score is not None]

    def value(items: Sequence[Counter[Hashable]]) -> float:
        return overlap(sum(items, Counter()), target)

    return {name: statistic(value, items, seed=evidence.seed, unit="share", better="higher") for name, items in sets.items() if len(items)}


def _made(samples: Sequence[Sample]) -> list[tuple[Score, Sample]]:
    """The scores of samples; one that holds no note is none."""
    found = []
    for sample in samples:
        for part in sample.content.parts:
            if isinstance(part, Media) and part.modality == Modality.MUSIC and (score := _read(part.data)) is not None:
                found.append((score, sample))
    return found


def _score(record: Record) -> Score | None:
    return next((_read(part.data) for part in record.parts if isinstance(part, Media) and part.modality == Modality.MUSIC), None)


def _read(data: bytes) -> Score | None:
    try:
        return read_midi(data)
    except DataError:
        return None


def _in_scale(pitch: int, score: Score) -> bool:
    key = score.key
    if key is None:
        return True
    raised = {9, 11} if key.mode == "minor" else set()
    return (pitch - key.tonic) % 12 in {*SCALES[key.mode], *raised}
