"""`miaobi transcribe FILE`: what a sound or a film says, with times; as text, subtitles or JSON."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.cli.keeping import Keeping, keep_arguments
from miaobi.cli.options import add_options, given_options
from miaobi.cli.parser import Parser
from miaobi.cli.recipes import machine_arguments
from miaobi.core.errors import DataError, UsageError, unknown
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.api import Loaded
    from miaobi.cli.terminal import Output
    from miaobi.core.types import Content
    from miaobi.data.subtitles import Cue

MODEL = "ears"


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """What to listen to and where the text goes; the recogniser's options join them."""
    parser.add_argument("file", metavar="FILE", type=Path, help=tr("a sound, or a film with sound: .wav .mp3 .flac .ogg .m4a .mp4 .webm"))
    parser.add_argument("--out", metavar="PATH", type=Path, help=tr("the labelled file to write: .srt .vtt .txt .json .md .html"))
    parser.add_argument("--hint", metavar="TEXT", default="", help=tr("words that came before: names and spellings to expect"))
    parser.add_argument("--columns", metavar="N", type=int, default=0, help=tr("columns of a line of subtitles; 0: by the language"))
    keep_arguments(parser)
    machine_arguments(parser)
    from miaobi import api

    add_options(parser, api.family_of(MODEL).schemas()[1], tr("options of {model}", model=MODEL))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Listen, then write or print."""
    from miaobi import api
    from miaobi.data import subtitles
    from miaobi.trust.formats import FORMATS

    out: Path | None = arguments.out
    if out and out.suffix.lower() not in (*subtitles.SUFFIXES, *FORMATS):
        raise unknown("file ending", out.suffix, (*subtitles.SUFFIXES, *FORMATS))
    if not arguments.file.is_file():  # named before the model takes its time
        raise UsageError("there is no file at {path}", path=arguments.file)
    _check_sound(arguments.file)
    options = given_options(arguments, api.family_of(MODEL).schemas()[1], tr("options of {model}", model=MODEL))
    with Keeping.at(arguments, output) as keeping:
        content = _heard(api.load(MODEL, device=arguments.device, threads=arguments.threads), arguments, options, output, keeping)
    cues = subtitles.of_notes(content.label.notes, columns=arguments.columns) if content.text.strip() else []
    if out:
        _write(content, cues, out)
    _report(content, cues, out, output)
    return 0


def _check_sound(path: Path) -> None:
    """Refuse what does not even begin as a sound."""
    from miaobi.data import sounds
    from miaobi.trust import media
    from miaobi.trust.stored import Stored

    try:
        sounds.check(Stored.at(path))
        if next(media.blocks(Stored.at(path)), None) is None:
            raise DataError("the sound is empty")
    except DataError as error:
        raise DataError("{path}: {problem}", path=path, problem=error) from None


def _heard(ears: Loaded, arguments: argparse.Namespace, options: dict[str, Any], output: Output, keeping: Keeping) -> Content:
    """The one content, and a bar of the seconds that were heard."""
    from miaobi.core.types import Content, Progress

    with output.progress() as tick:
        for chunk in keeping.each(ears.stream(arguments.hint, sound=arguments.file, seed=0, **options)):
            if isinstance(chunk, Progress):
                tick("listening", chunk.step, chunk.total)
            elif isinstance(chunk, Content):
                return chunk
    raise AssertionError("a generation that ends without a content raises")


def _write(content: Content, cues: Sequence[Cue], out: Path) -> None:
    """Subtitles with their labels beside them, since their formats have no place for any; other files as every text is written."""
    from miaobi.data import subtitles
    from miaobi.trust import label

    suffix = out.suffix.lower()
    if suffix not in subtitles.SUFFIXES:
        label.write(content, out)
        return
    label.write_subtitles(subtitles.to_srt(cues) if suffix == ".srt" else subtitles.to_vtt(cues), content.label, out)


def _report(content: Content, cues: Sequence[Cue], out: Path | None, output: Output) -> None:
    """The text with its times, or, when it was written to a file, where."""
    from miaobi.trust import label

    notes = content.label.notes
    value = {"text": content.text, "language": notes["language"], "sentences": notes["sentences"], "words": notes.get("words", [])}
    value |= {"label": label.to_dict(content.label)} | ({"file": str(out)} if out else {})
    lines = [f"[{cue.start:7.2f} – {cue.end:7.2f}]  {' '.join(cue.text.splitlines())}" for cue in cues] or [tr("nothing is said in it")]
    output.result(value, "\n".join([*lines, "", label.visible(label.visible_language(content.text))]))
    if out:
        output.news("written: {path}", path=out)
