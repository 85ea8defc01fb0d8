"""What is said in a film and when: read from a file, or heard by a model."""

from __future__ import annotations

from pathlib import Path

from miaobi.apps.common import cues
from miaobi.apps.edit.pieces import sound_of
from miaobi.core.apps import Desk
from miaobi.core.errors import DataError
from miaobi.core.types import Media, Modality
from miaobi.data import sounds
from miaobi.data.subtitles import Cue

EARS_RATE = 16_000  # hertz, all that a recogniser of speech listens to


def read(file: str) -> list[Cue]:
    """The cues of a .srt or .vtt file.

    Raises:
        UsageError: there is no such file.
        DataError: it is not one, or holds no words.
    """
    return cues.read(Path(file))


def heard(path: Path, model: str, desk: Desk) -> list[Cue]:
    """What a model hears in a film or sound.

    Raises:
        DataError: there is no sound, or nobody speaks.
    """
    sound = sound_of(path)
    if sound is None:
        raise DataError("{path} has no sound to listen to", path=path)
    data = sounds.encode(sound.mono().resampled(EARS_RATE))
    desk.tick("listening", 0, 1)
    content = desk.load(model).generate("", seed=0, audio=Media(modality=Modality.AUDIO, mime="audio/wav", data=data, name="audio"))[0]
    desk.tick("listening", 1, 1)
    found = content.label.notes.get("segments", ())
    cues = [
        Cue(start=float(each["start"]), end=float(each["end"]), text=str(each["text"]).strip()) for each in found if each["text"].strip()
    ]
    if not cues:
        raise DataError("{path}: no words were heard", path=path)
    return cues
