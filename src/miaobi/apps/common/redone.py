"""What an app made of a file (an edited film, a text read aloud), made again from its label and that file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from miaobi.apps.common.again import check_files, first_difference
from miaobi.core.apps import Desk, app
from miaobi.core.schema import validate
from miaobi.core.types import Content, Label, Media
from miaobi.data import subtitles
from miaobi.engine import generate
from miaobi.trust import label as labels
from miaobi.trust import media
from miaobi.trust.formats import Marked
from miaobi.trust.replay import Replay


def again(label: Label, path: Path, desk: Desk, /) -> Replay:
    """The file at `path` once more.

    Raises:
        UsageError: a file that it was made from is not beside it, or is another one now.
    """
    files = label.options["files"]
    check_files(files, path)
    found = app(label.model)
    given = {key: value for key, value in label.options.items() if key != "files"}
    named = {key: str(path.parent / value) for key, value in given.items() if key in ("file", "transcript") and value}
    inputs = validate(found.schema(), given | named, str(path))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"again{path.suffix}"
        found.runner()(inputs, out, desk)
        content = _content(out)
    same = content.label.content_sha256 == label.content_sha256
    return Replay(content=content, identical=same, difference="" if same else first_difference(label, content.label))


def _content(made: Path) -> Content:
    """What was made now, with its label."""
    mime = media.SUFFIXES.get(made.suffix.lower())
    if mime is not None:
        return generate.restored((Media(modality=media.modality_of(mime), mime=mime, data=made.read_bytes()),), labels.read(made))
    marked = labels.read_marked(made)
    assert isinstance(marked, Marked)
    subtitled = made.suffix.lower() in subtitles.SUFFIXES  # their label is about the words alone
    text = "\n".join(cue.text for cue in subtitles.parse(marked.text)) if subtitled else marked.text
    return generate.restored((text,), labels.read(made))
