"""Which words are shown when: those of a narration, and those of .srt and .vtt files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from miaobi.core.artifact import write_text
from miaobi.core.errors import DataError, UsageError, unknown
from miaobi.core.types import Label
from miaobi.data import subtitles
from miaobi.data.readers.encoding import encoding_of
from miaobi.data.subtitles import Cue
from miaobi.trust import label as labels

LARGEST = 16 << 20  # bytes of a file of subtitles


def of_narration(text: str, notes: Mapping[str, Any], *, start: float, seconds: float, columns: int) -> list[Cue]:
    """The cues of what is said from `start` on: by the times in the notes of the voice's label, else spread over its time evenly."""
    if not text.strip():
        return []
    if not notes.get("sentences"):
        notes = {"sentences": [(" ".join(text.split()), 0.0, seconds)]}
    return [Cue(start + cue.start, start + cue.end, cue.text) for cue in subtitles.of_notes(notes, columns=columns)]


def columns_for(width: int, letters: float, text: str) -> int:
    """Half-width columns of a line in a room of `width` pixels, of `letters` pixels high; never more than are read at a glance."""
    usual = subtitles.COLUMNS["zh" if subtitles.width_of(text) > len(text) else "en"]
    return max(4, min(usual, int(width / (letters / 2))))


def read(path: Path) -> list[Cue]:
    """The cues of a .srt or .vtt file.

    Raises:
        UsageError: there is no such file.
        DataError: it holds no cues, is damaged or too large.
    """
    if not path.is_file():
        raise UsageError("there is no file at {path}", path=path)
    if path.stat().st_size > LARGEST:
        raise DataError("{path} has more than {most} bytes, which no subtitles have", path=path, most=LARGEST)
    text = path.read_bytes().decode(encoding_of(path), "replace")  # many Chinese subtitles are GB 18030
    try:
        return subtitles.parse(text)
    except DataError as error:
        raise DataError("{path}: {problem}", path=path, problem=error) from None


def write(path: Path, cues: Iterable[Cue], *, label: Label | None = None) -> None:
    """A .srt or .vtt file; with the label, beside it, of the content whose words they are, where a model made them.

    Raises:
        UsageError: another ending.
    """
    if path.suffix.lower() not in subtitles.SUFFIXES:
        raise unknown("file ending", path.suffix, subtitles.SUFFIXES)
    text = subtitles.to_vtt(cues) if path.suffix.lower() == ".vtt" else subtitles.to_srt(cues)
    if label is None:
        write_text(path, text)
    else:
        labels.write_subtitles(text, label, path)
