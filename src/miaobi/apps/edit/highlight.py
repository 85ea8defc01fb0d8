"""`edit highlight`: the liveliest moments of a film, in their order, as long as wanted.

Every shot, in pieces of a few seconds, gets a rank by how much moves in it, how loud it is, and how well it fits some words (in a
transcript, or in the eyes of a scorer); the pieces with the highest weighted ranks are taken until the reel is full. Ranks and
not values are weighed, so that one explosion does not decide everything.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.apps.edit import transcript
from miaobi.apps.edit.pieces import (
    Job,
    Stretch,
    about,
    check_film,
    existing,
    film_of,
    frames_in,
    in_frames,
    recording_of,
    reopened,
    sound_in,
    ticking,
    write_file,
)
from miaobi.apps.edit.schema import Highlight
from miaobi.apps.edit.shots import shots
from miaobi.core.apps import Desk
from miaobi.core.errors import UsageError
from miaobi.data import loudness, videos
from miaobi.engine.metrics.retrieval import SCORER

LOOKS = 8.0  # pictures a second whose change is movement
GRAIN = 32  # their size in pixels
SHORTEST = 0.8  # seconds; a shorter piece is no moment

Values = NDArray[np.float64]


def run(inputs: Highlight, out: Path, desk: Desk, /) -> Mapping[str, Any]:
    """The reel at `out`.

    Raises:
        UsageError: all weights are nothing.
    """
    path = existing(inputs.file)
    check_film(out)
    if inputs.text and not (inputs.transcript or inputs.model):
        inputs = inputs.model_copy(update={"model": SCORER})
    info = about(path)
    if inputs.text and inputs.transcript:
        transcript.read(inputs.transcript)  # it can be wrong before anything is looked at, and so can the model
    if inputs.text and inputs.model:
        desk.load(inputs.model)
    pieces = [part for shot in shots(path, inputs, desk) for part in in_pieces(shot, inputs.piece)]
    ranks = judged(path, pieces, inputs, desk)
    if not ranks:
        raise UsageError("all weights are nothing, so no moment is better than another")
    scores = np.sum(list(ranks.values()), axis=0)
    chosen = in_frames(choose(pieces, scores, inputs.seconds), info.fps)
    sound, total = recording_of(path), round(sum(each.seconds for each in chosen) * info.fps)

    def write(bare: Path) -> None:
        heard = sound_in(sound, chosen) if sound is not None else None
        frames = reopened(frames_in(path, chosen, info.fps), path, chosen, info.fps)
        film_of(bare, ticking(frames, desk, total), info=info, sound=heard)

    write_file(out, write, Job(app="highlight", source=path, inputs=inputs))
    return {"out": str(out), "seconds": round(total / info.fps, 3), "moments": _told(pieces, ranks, chosen)}


def in_pieces(shot: Stretch, longest: float) -> list[Stretch]:
    """A shot in equal pieces, none longer than `longest` seconds."""
    count = max(1, math.ceil(shot.seconds / longest - 1e-6))
    edges = np.linspace(shot.start, shot.end, count + 1).tolist()
    return [Stretch(start, end) for start, end in itertools.pairwise(edges)]


def judged(path: Path, pieces: Sequence[Stretch], inputs: Highlight, desk: Desk) -> dict[str, Values]:
    """The weighted rank of every piece (0 to the weight), by what is judged."""
    values: dict[str, tuple[float, Values]] = {}
    if inputs.motion:
        values["motion"] = inputs.motion, motion(path, pieces)
    sound = recording_of(path) if inputs.loudness else None
    if sound is not None:
        levels = np.maximum(loudness.momentary(sound.play(), sound.rate), loudness.SILENT)  # ten a second
        values["loudness"] = inputs.loudness, _means(levels, 1 / loudness.STEP_SECONDS, pieces)
    if inputs.text and inputs.transcript:
        values["transcript"] = inputs.match, _words(inputs, pieces)
    if inputs.text and inputs.model:
        values["pictures"] = inputs.match, _pictures(path, inputs, pieces, desk)
    return {name: weight * rank(found) for name, (weight, found) in values.items() if weight}


def rank(values: Values) -> Values:
    """0 for the least, 1 for the most; equal values share the mean of their places."""
    order = np.searchsorted(np.sort(values), values, side="left") + np.searchsorted(np.sort(values), values, side="right") - 1
    return order / max(1, 2 * (len(values) - 1))


def choose(pieces: Sequence[Stretch], scores: Values, seconds: float) -> list[Stretch]:
    """The best pieces that fill so many seconds, in order of time; the last one that is taken is shortened to fit."""
    taken, left = list[Stretch](), seconds
    for index in np.argsort(-scores, kind="stable"):
        piece = pieces[int(index)]
        if left < SHORTEST and taken:
            break
        end = min(piece.end, piece.start + left)
        if end - piece.start >= min(SHORTEST, piece.seconds):
            taken.append(Stretch(piece.start, end))
            left -= end - piece.start
    return sorted(taken, key=lambda piece: piece.start)


def motion(path: Path, pieces: Sequence[Stretch]) -> Values:
    """How much the pictures of each piece change from one to the next, as a mean over small grey pictures."""
    changes, before = [0.0], None
    for _, frame in videos.frames_of(path, fps=LOOKS):
        step = max(1, min(frame.shape[:2]) // GRAIN)
        grey = frame[::step, ::step, :3].mean(axis=2)
        if before is not None:
            changes.append(float(np.abs(grey - before).mean()))
        before = grey
    return _means(np.array(changes), LOOKS, pieces, skip=1)


def _means(values: Values, rate: float, pieces: Sequence[Stretch], *, skip: int = 0) -> Values:
    """The mean of the values (`rate` a second) in each piece; `skip` of them at its start belong to the cut before it."""
    found = []
    for piece in pieces:
        first = min(round(piece.start * rate) + skip, len(values) - 1)
        found.append(values[first : max(first + 1, round(piece.end * rate))].mean())
    return np.array(found)


def _words(inputs: Highlight, pieces: Sequence[Stretch]) -> Values:
    """How many pairs of letters of the words are said during each piece, as a share of them."""
    cues, wanted = transcript.read(inputs.transcript), pairs(inputs.text)
    said = ["".join(cue.text + " " for cue in cues if cue.start < piece.end and cue.end > piece.start) for piece in pieces]
    return np.array([len(wanted & pairs(text)) / max(1, len(wanted)) for text in said])


def pairs(text: str) -> set[str]:
    """Neighbouring letters, in small letters and without what is no letter: close words share most of them, in any language."""
    plain = "".join(letter if letter.isalnum() else " " for letter in text.lower())
    return {word[start : start + 2] for word in plain.split() for start in range(max(1, len(word) - 1))}


def _pictures(path: Path, inputs: Highlight, pieces: Sequence[Stretch], desk: Desk) -> Values:
    """How well the middle picture of each piece fits the words, in the eyes of a scorer."""
    scorer, found = desk.load(inputs.model), []
    for number, piece in enumerate(pieces):
        middle = (piece.start + piece.end) / 2
        frame = next((frame for _, frame in videos.frames_of(path, start=middle, stop=piece.end)), None)
        desk.tick("comparing", number + 1, len(pieces))
        notes = scorer.generate(inputs.text, seed=0, image=frame)[0].label.notes if frame is not None else {}
        if frame is not None and "cosine" not in notes:
            raise UsageError("{model} does not compare pictures with words; name a model of the family scorer", model=inputs.model)
        found.append(float(notes.get("cosine", -1.0)))
    return np.array(found)


def _told(pieces: Sequence[Stretch], ranks: Mapping[str, Values], chosen: Sequence[Stretch]) -> list[dict[str, Any]]:
    """Each moment of the reel, and why it was taken."""
    rows = []
    for each in chosen:
        index = min(range(len(pieces)), key=lambda number: abs(pieces[number].start - each.start))
        why = {name: round(float(values[index]), 3) for name, values in ranks.items()}
        rows.append({"start": round(each.start, 3), "end": round(each.end, 3), **why})
    return rows
