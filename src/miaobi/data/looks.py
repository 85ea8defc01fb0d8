"""What a picture looks like, as a set of marks, so that nearly equal pictures are found by the same MinHash bands as nearly equal texts.

A difference hash (Krawetz 2013) keeps for each cell of a small grid whether it is brighter than its neighbour. Icons are mostly flat, and
on flat ground that bit is noise: here a cell says *brighter*, *darker* or, below a margin, nothing, so a picture is a set and the Jaccard
similarity of two sets is the share of their edges and colours that agree. Marks of brightness and of colour tell red from blue. The marks
of a score are the runs of its melody, those of a sound how its spectrum moves.
"""

from __future__ import annotations

import base64
import itertools

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError
from miaobi.core.types import Modality, Record
from miaobi.data.pictures import Pixels, decode, over, resize, rgba
from miaobi.data.records import Dropped, Seen, media_of
from miaobi.data.scores import Score, read_midi
from miaobi.data.sounds import Sound
from miaobi.data.sounds import decode as decode_sound

GRID = 16  # cells of edges a side
COARSE = 8  # cells of colour a side
EDGE = 12.0  # differences of brightness below are no edge
TINT = 24.0  # differences between channels below are grey
LEVELS = 4  # of brightness
HEARD = " "  # begins the marks of a melody: no letter of base 85
FRAME_SECONDS, BANDS = 0.25, 9  # of the marks of a sound
MELODY = 7  # steps from note to note that make a mark
NUM_MARKS = 4 * GRID * GRID + 2 * GRID * GRID + (4 + LEVELS) * COARSE * COARSE


def look(pixels: Pixels) -> str:
    """The marks of a picture (H, W, 4) as text; equal pictures look equal whatever their size and file format."""
    small = resize(pixels, (GRID + 1, GRID + 1))
    colours = over(small, "white").astype(np.float32)  # (17, 17, 3)
    brightness = colours @ np.array([0.299, 0.587, 0.114], np.float32)
    cells = over(resize(pixels, (COARSE, COARSE)), "white").astype(np.float32)  # (8, 8, 3)
    bits = np.concatenate([*_edges(brightness), *_outline(small[..., 3]), *_tints(cells)])
    assert len(bits) == NUM_MARKS
    return base64.b85encode(np.packbits(bits).tobytes()).decode()


def marks(text: str) -> set[str]:
    """The marks that `look` or `heard` wrote down. A picture without any has one that says so."""
    if text.startswith(HEARD):
        return set(text.removeprefix(HEARD).split()) or {"short"}
    bits = np.unpackbits(np.frombuffer(base64.b85decode(text), np.uint8))
    return set(map(str, np.flatnonzero(bits[:NUM_MARKS]).tolist())) or {"blank"}


def examine(record: Record) -> Seen | Dropped:
    """What is to be seen of a record with media: its first picture's marks and all sizes. What nobody can decode comes into no data set."""
    sizes: list[tuple[int, int]] = []
    first = ""
    for part in media_of(record):
        if part.modality == Modality.VIDEO:
            frame = _first_frame(part.data)
            if isinstance(frame, Dropped):
                return frame
            sizes.append((frame.shape[1], frame.shape[0]))
            first = first or look(frame)
            continue
        if part.modality == Modality.MUSIC and not first:
            try:
                first = heard(read_midi(part.data))
            except DataError as error:
                return Dropped("unreadable", error.template.format(**error.values))
        if part.modality == Modality.AUDIO and not first:
            try:
                first = listened(decode_sound(part.data))
            except DataError as error:
                return Dropped("unreadable", error.template.format(**error.values))
        if part.modality != Modality.IMAGE:
            sizes.append((0, 0))
            continue
        if part.mime == "image/svg+xml":
            return Dropped("drawing", "a data set holds pictures of pixels: put the step `picture` first")
        try:
            pixels = decode(part.data)
        except DataError as error:
            return Dropped("unreadable", error.template.format(**error.values))
        sizes.append((pixels.shape[1], pixels.shape[0]))
        first = first or look(pixels)
    return Seen(look=first, sizes=sizes)


def listened(sound: Sound) -> str:
    """The marks of a sound as text: in every quarter of a second, which of nine bands grew against their neighbours.

    The sign of a difference in time and in pitch is the same whatever the loudness and the compression (Haitsma and Kalker 2002); two
    moments in a row make a mark.
    """
    mono = sound.mono().samples[:, 0]
    step = max(1, round(sound.rate * FRAME_SECONDS))
    frames = np.pad(mono, (0, -len(mono) % step + step)).reshape(-1, step)
    power = np.abs(np.fft.rfft(frames * np.hanning(step), axis=1)) ** 2
    edges = np.geomspace(max(1, 200 * step / sound.rate), max(2, min(4000 * step / sound.rate, power.shape[1] - 1)), BANDS + 1).astype(int)
    bands = np.log(np.stack([power[:, low : max(high, low + 1)].sum(axis=1) for low, high in itertools.pairwise(edges)], axis=1) + 1e-9)
    steps = np.diff(bands, axis=0)
    bits = (steps[:, 1:] > steps[:, :-1]).astype(int) @ (1 << np.arange(BANDS - 1))
    words = [f"{first:x}.{second:x}" for first, second in itertools.pairwise(bits)]
    return HEARD + " ".join(sorted(set(words)))


def heard(score: Score) -> str:
    """The marks of a melody as text: every eight notes in a row by their steps and lengths, so that a tune is known in any key."""
    notes = score.on_grid().parts[0].notes
    steps = [f"{after.pitch - note.pitch}:{after.start - note.start}" for note, after in itertools.pairwise(notes)]
    runs = {",".join(steps[place : place + MELODY]) for place in range(max(1, len(steps) - MELODY + 1))}
    return HEARD + " ".join(sorted(run for run in runs if run))


def _first_frame(data: bytes) -> Pixels | Dropped:
    """What a film begins with, which is what it is told from others by."""
    from miaobi.data import videos

    try:
        return rgba(next(videos.frames_of(data))[1])
    except DataError as error:
        return Dropped("unreadable", error.template.format(**error.values))


def _edges(brightness: NDArray[np.float32]) -> list[NDArray[np.bool_]]:
    """Cells that are brighter or darker than their right and their lower neighbour."""
    right = (brightness[:-1, :-1] - brightness[:-1, 1:]).ravel()
    down = (brightness[:-1, :-1] - brightness[1:, :-1]).ravel()
    return [right > EDGE, right < -EDGE, down > EDGE, down < -EDGE]


def _outline(alpha: NDArray[np.uint8]) -> list[NDArray[np.bool_]]:
    """Where the silhouette's edge runs: white things on nothing have no edge against white."""
    inside = alpha.astype(np.float32)
    return [(np.abs(inside[:-1, :-1] - inside[:-1, 1:]) > 96).ravel(), (np.abs(inside[:-1, :-1] - inside[1:, :-1]) > 96).ravel()]


def _tints(cells: NDArray[np.float32]) -> list[NDArray[np.bool_]]:
    """Cells that lean to red, green, blue or yellow, and how bright they are; white ones say nothing."""
    red, green, blue = (cells[..., channel].ravel() for channel in range(3))
    warm, cold = red - green, blue - (red + green) / 2
    level = np.minimum((red + green + blue) / 3 // (256 / LEVELS), LEVELS - 1)
    ground = (red + green + blue) / 3 > 250
    return [warm > TINT, warm < -TINT, cold > TINT, cold < -TINT, *((level == number) & ~ground for number in range(LEVELS))]
