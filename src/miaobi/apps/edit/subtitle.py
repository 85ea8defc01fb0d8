"""`edit subtitle`: what is said, as files of words and in the pictures of the film."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from miaobi.apps.common import cues
from miaobi.apps.common.fonts import Fonts
from miaobi.apps.common.lettering import Overlay
from miaobi.apps.common.painters import Stage, words
from miaobi.apps.edit import transcript
from miaobi.apps.edit.pieces import Job, about, check_film, existing, film_of, is_film, length_of, recording_of, ticking, write_file
from miaobi.apps.edit.schema import Subtitle
from miaobi.core.apps import Desk
from miaobi.core.errors import UsageError
from miaobi.data import videos
from miaobi.data.pictures import Pixels
from miaobi.data.subtitles import Cue


def run(inputs: Subtitle, out: Path, desk: Desk, /) -> Mapping[str, Any]:
    """A film with its words at `out`, and .srt and .vtt files of the same name; of a sound, or without `burn`, the files alone.

    Raises:
        DataError: nobody speaks, or the transcript cannot be read.
    """
    path = existing(inputs.file)
    burn = inputs.burn and is_film(path)
    if burn:
        check_film(out)
        if out.resolve() == path.resolve():
            raise UsageError("{path} would be written over itself; choose another name", path=path)
    fonts = Fonts.named(inputs.font)
    given, heard = (transcript.read(inputs.transcript), None) if inputs.transcript else transcript.heard(path, inputs.model, desk)
    files = [out.with_suffix(suffix) for suffix in (".srt", ".vtt")]
    if burn:
        _burn(path, given, fonts, inputs, out, desk)
    for file in files:
        cues.write(file, given, label=heard)
    return {
        "out": str(out if burn else files[0]),
        "subtitles": [str(file) for file in files],
        "cues": [dataclasses.asdict(cue) for cue in given],
    }


def _burn(path: Path, shown: Sequence[Cue], fonts: Fonts, inputs: Subtitle, out: Path, desk: Desk) -> None:
    info = about(path)
    stage = Stage((info.width, info.height), info.fps, fonts)
    total = info.num_frames or round(length_of(path, info) * info.fps)

    def write(bare: Path) -> None:
        film_of(bare, ticking(_lettered(path, shown, stage, inputs.size), desk, total), info=info, sound=recording_of(path))

    write_file(out, write, Job(app="subtitle", source=path, inputs=inputs))


def _lettered(path: Path, all_cues: Sequence[Cue], stage: Stage, size: float) -> Iterator[Pixels]:
    """Every frame with the words of its time."""
    shown: tuple[int, Overlay | None] = (-1, None)
    for time, frame in videos.frames_of(path, fps=stage.fps):
        middle = time + 0.5 / stage.fps
        index = next((index for index, cue in enumerate(all_cues) if cue.start <= middle < cue.end), -1)
        if index != shown[0]:
            shown = index, words(all_cues[index].text, stage, size=size, ink="white", where="bottom") if index >= 0 else None
        if shown[1] is not None:
            frame = np.ascontiguousarray(frame[..., :3])
            shown[1].onto(frame)
        yield frame
