"""The metrics of films, each beside the real films (`_real`) and the first frame standing still (`_still`).

No figure says alone that a film is good. A still image is the most consistent film there is and shows what was asked; noise moves most.
A film is good whose frames are as far from real frames as a still's (`frechet_frames`), and whose change is nearer to real change than
standing still (`frechet_clips`, `movement`), without flickering (`consistency`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from miaobi.core.types import Record
from miaobi.engine import features
from miaobi.engine.films import LANGUAGES, MADE, REAL, STILL, Films
from miaobi.engine.metrics import Evidence, Figure, Unmeasurable, metric
from miaobi.engine.metrics.confidence import Better, ratio, statistic_between
from miaobi.engine.metrics.frechet import frechet_distance

Floats = NDArray[np.float64]
DRAWS = 30  # half-samples of a distance between sets
SMALL_SET = "fewer films than features: compare it only with figures over as many films"


@metric("frechet_frames", needs=["samples"])
def frechet_frames(evidence: Evidence) -> dict[str, Figure]:
    """Fréchet distance of the frames' features from those of real films' frames (Heusel et al. 2017), by EfficientNet-lite0."""
    return _distances(evidence, lambda frames: frames.astype(np.float64))


@metric("frechet_clips", needs=["samples"])
def frechet_clips(evidence: Evidence) -> dict[str, Figure]:
    """Fréchet distance of whole films, each by the mean of its frames' features and how far they change from frame to frame."""
    return _distances(evidence, lambda frames: np.concatenate([frames.mean(axis=0), changes(frames).mean(axis=0)])[None])


@metric("consistency", needs=["samples"])
def consistency(evidence: Evidence) -> dict[str, Figure]:
    """How alike neighbouring frames are, the last and the first among them: the mean cosine of their features; flicker lowers it."""
    return _means(evidence, alike, unit="cosine")


@metric("movement", needs=["samples"])
def movement(evidence: Evidence) -> dict[str, Figure]:
    """How far pixels change from frame to frame, on white, of 1; as near to the real films' as can be."""
    films = _films(evidence)
    return {
        name: ratio([_moved(frames) for frames in films.sets[name]], seed=evidence.seed, unit="share of 255")
        for name in (MADE, REAL, STILL)
    }


@metric("film_text", needs=["samples", "judge"])
def film_text(evidence: Evidence) -> dict[str, Figure]:
    """How well films fit their captions in the judge's eyes: the cosine of the mean of their frames' vectors, by language."""
    films, judge = _films(evidence), evidence.judge
    if judge is None:
        raise Unmeasurable("the recipe names no judge of pictures and captions (evaluate.scorer)")
    found: dict[str, Figure] = {}
    embedded = films.embedded(judge)
    for language in LANGUAGES:
        named = [captions(record, language) for record in films.references]
        places = [place for place, texts in enumerate(named) if texts]
        if not places:
            continue
        read = judge.embed_texts([named[place][0] for place in places]).astype(np.float64)
        for name, vectors in embedded.items():
            cosines = np.einsum("ne,ne->n", vectors[places].astype(np.float64), read)
            found[_joined(language, name)] = ratio(cosines, seed=evidence.seed, unit="cosine", better="higher" if name == MADE else "")
    if not found:
        raise Unmeasurable("no captions say what the films should show")
    return found


def captions(record: Record, language: str) -> list[str]:
    """What a record is called in a language, the name first."""
    found = (record.meta.get("caption") or {}).get(language, ())
    return [found] if isinstance(found, str) else list(found)


def changes(frames: NDArray[np.floating]) -> Floats:
    """How far each of F vectors (F, D) is from the one before it, the first from the last: (F, D)."""
    return np.abs(frames.astype(np.float64) - np.roll(frames.astype(np.float64), 1, axis=0))


def alike(frames: NDArray[np.floating]) -> float:
    """The mean cosine of neighbouring vectors (F, D) in a circle."""
    vectors = frames.astype(np.float64)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return float(np.einsum("fd,fd->f", vectors, np.roll(vectors, 1, axis=0)).mean())


def _films(evidence: Evidence) -> Films:
    return evidence.films


def _distances(evidence: Evidence, rows: Callable[[NDArray[np.floating]], Floats]) -> dict[str, Figure]:
    """The distance of the made films' rows from the real ones', and of the still ones'."""
    seen = {name: np.stack([rows(frames) for frames in films]) for name, films in _films(evidence).seen.items()}  # (N, R, D)

    def distance(a: Floats, b: Floats) -> float:
        return frechet_distance(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]))

    found = {}
    for name in (MADE, STILL):
        better: Better = "lower" if name == MADE else ""
        figure = statistic_between(distance, seen[name], seen[REAL], seed=evidence.seed, draws=DRAWS, better=better)
        low = None if figure.low is None else max(0.0, figure.low)
        found[name] = replace(figure, low=low, note=figure.note or (SMALL_SET if figure.count <= features.WIDTH else ""))
    return found


def _means(evidence: Evidence, of: Callable[[NDArray[np.floating]], float], *, unit: str) -> dict[str, Figure]:
    seen = _films(evidence).seen
    return {
        name: ratio([of(frames) for frames in seen[name]], seed=evidence.seed, unit=unit, better="higher" if name == MADE else "")
        for name in (MADE, REAL, STILL)
    }


def _moved(frames: NDArray[np.uint8]) -> float:
    """The mean absolute difference of neighbouring frames (F, H, W, 3 or 4) on white, in a circle, of 1."""
    flat = frames[..., :3] / 255
    if frames.shape[-1] == 4:
        alpha = frames[..., 3:] / 255
        flat = flat * alpha + 1 - alpha
    return float(np.abs(flat - np.roll(flat, 1, axis=0)).mean())


def _joined(*names: str) -> str:
    return "_".join(filter(None, names))
