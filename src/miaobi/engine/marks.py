"""The marks of a picture, a sound or a film, whatever it came as: words in a corner, a rhythm before it, words in its opening."""

from __future__ import annotations

import dataclasses

import numpy as np

from miaobi.core.errors import UsageError
from miaobi.core.types import Media, Modality
from miaobi.trust import label as labels
from miaobi.trust import mark
from miaobi.trust.marking import Marking

OPENING_SECONDS = 2.0  # GB 45438-2025: in the opening, for two seconds at least


def apply(marking: Marking, part: Media, payload: int) -> tuple[Media, str, str]:
    """The marked part, and what its label says of the mark and of the watermark; a score has neither to see nor to hear.

    Raises:
        UsageError: a watermark is wanted in a film, or a picture that moves is to be marked as one that does not.
    """
    if labels.is_picture(part):
        return marking.apply(part, payload)
    if part.modality is Modality.AUDIO:
        return marking.apply_to_sound(part, payload)
    if part.modality is Modality.VIDEO:
        return _film(marking, part)
    return part, "", ""


def _film(marking: Marking, part: Media) -> tuple[Media, str, str]:
    """A film, or a picture that moves, with the words in the frames of its opening; all of them when it is shorter, since it is a loop."""
    from miaobi.data import videos

    if marking.watermark:
        raise UsageError("there is no watermark for films; choose --watermark none")
    if not marking.language:
        return part, "", ""
    clip = videos.decode(part.data)
    count = min(len(clip.frames), round(np.ceil(OPENING_SECONDS * clip.fps)))
    opening = [mark.draw(_rgba(frame), marking.language, corner=marking.corner)[..., : frame.shape[-1]] for frame in clip.frames[:count]]
    frames = np.concatenate([np.stack(opening), clip.frames[count:]])
    data = videos.encode(dataclasses.replace(clip, frames=frames), part.mime)
    return dataclasses.replace(part, data=data), mark.describe(marking.language, marking.corner), ""


def _rgba(frame: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> mark.Pixels:
    if frame.shape[-1] == 4:
        return frame
    return np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)])
