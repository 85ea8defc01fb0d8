"""What is said in a film and when: read from a file, or heard by a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from miaobi.apps.common import cues
from miaobi.apps.edit.pieces import recording_of
from miaobi.core.apps import Desk
from miaobi.core.errors import DataError, UsageError
from miaobi.core.types import Content, Label, Media, Modality, Progress
from miaobi.data import sounds, subtitles
from miaobi.data.recordings import Recording, resampled
from miaobi.data.sounds import Sound
from miaobi.data.subtitles import Cue

EARS_RATE = 16_000  # hertz, all that a recogniser of speech listens to


def read(file: str) -> list[Cue]:
    """The cues of a .srt or .vtt file.

    Raises:
        UsageError: there is no such file.
        DataError: it is not one, or holds no words.
    """
    return cues.read(Path(file))


def heard(path: Path, model: str, desk: Desk, *, translated: bool = False) -> tuple[list[Cue], Label]:
    """What a model hears in a film or sound, or an English translation of it, and the label of that.

    Raises:
        DataError: there is no sound, or nobody speaks.
        UsageError: English is to be put into English.
    """
    sound = recording_of(path)
    if sound is None:
        raise DataError("{path} has no sound to listen to", path=path)
    media = Media(modality=Modality.AUDIO, mime="audio/wav", data=sounds.encode(_for_ears(sound)), name="sound")
    options: dict[str, Any] = {"task": "translate"} if translated else {}
    label: Label | None = None
    for chunk in desk.load(model).stream("", seed=0, sound=media, **options):
        if isinstance(chunk, Progress):
            desk.tick("listening", chunk.step, chunk.total)
        elif isinstance(chunk, Content):
            label = chunk.label
    assert label is not None, "a generation that ends without a content raises"
    notes = label.notes
    if not notes.get("sentences"):
        raise DataError("{path}: no words were heard", path=path)
    if translated and notes.get("language") == "en":
        raise UsageError("{path} is in English already. Name a transcript in the other language: --transcript FILE.srt", path=path)
    return subtitles.of_notes(notes), label


def _for_ears(sound: Recording) -> Sound:
    """What a recogniser listens to, without the whole sound being held as it is."""
    mono = (samples.mean(axis=1, keepdims=True, dtype=np.float32) for samples in sound.play())
    return Sound(np.concatenate(list(resampled(mono, sound.rate, EARS_RATE, channels=1))), EARS_RATE)
