"""Where a film is cut: PySceneDetect over its frames."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from miaobi.apps.edit.pieces import Stretch, about, length_of
from miaobi.apps.edit.schema import Cuts, Shots
from miaobi.core.apps import Desk
from miaobi.data import videos

SMALL = 192  # pixels of the shorter side that are looked at: cuts are as plain there, and noise is not


def shots(path: Path, inputs: Shots, desk: Desk) -> list[Stretch]:
    """Every shot in order, one after the other without gaps; a film without a cut is one shot."""
    info = about(path)
    rate, total = videos.rate_of(info.fps), length_of(path, info)
    detector, cuts, last = _detector(inputs, info.fps), list[int](), 0
    for number, (_, frame) in enumerate(videos.frames_of(path, fps=info.fps)):
        step = max(1, min(frame.shape[:2]) // SMALL)
        cuts += _frames(detector.process_frame(_timecode(number, rate), frame[::step, ::step, 2::-1].copy()))
        desk.tick("looking", number + 1, info.num_frames or round(total * info.fps) or None)
        last = number
    cuts += _frames(detector.post_process(_timecode(last, rate)))
    places = places_of(cuts, last + 1, least=_least(inputs, info.fps))
    return [Stretch(start / info.fps, end / info.fps) for start, end in itertools.pairwise(places)]


def places_of(cuts: Iterable[int], end: int, *, least: int) -> list[int]:
    """Where shots begin, and the end: cuts that leave no shot of `least` frames before or behind them fall out."""
    places = [0]
    for cut in sorted(cuts):
        if cut - places[-1] >= least and end - cut >= least:
            places.append(cut)
    return [*places, end]


def _least(inputs: Shots, fps: float) -> int:
    """The frames of the shortest shot."""
    return max(1, round(inputs.shortest * fps))


def _timecode(number: int, rate: Any) -> Any:
    from scenedetect import FrameTimecode

    return FrameTimecode(number, rate)


def _frames(found: Any) -> list[int]:
    """The numbers of the frames that a detector names."""
    return [int(each.frame_num) for each in found]


def _detector(inputs: Shots, fps: float) -> Any:
    import scenedetect

    least = _least(inputs, fps)
    method = inputs.method if isinstance(inputs, Cuts) else "content"
    if method == "adaptive":
        return scenedetect.AdaptiveDetector(adaptive_threshold=inputs.threshold / 9, min_scene_len=least)
    if method == "fades":
        return scenedetect.ThresholdDetector(threshold=min(inputs.threshold, 40) / 2, min_scene_len=least)
    return scenedetect.ContentDetector(threshold=inputs.threshold, min_scene_len=least)
