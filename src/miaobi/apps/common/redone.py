"""What an app made of a file (an edited film, a text read aloud), made again from its label and that file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from miaobi.apps.common.again import check_files
from miaobi.core.apps import Desk, app
from miaobi.core.language import tr
from miaobi.core.schema import validate
from miaobi.core.types import Label, Media, Modality, Request
from miaobi.engine import generate
from miaobi.trust import media
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
        data, mime = out.read_bytes(), media.SUFFIXES[path.suffix.lower()]
    modality = Modality.VIDEO if mime.startswith("video/") else Modality.AUDIO
    made = Media(modality=modality, mime=mime, data=data)
    content = generate.assembled((made,), (), app=label.model, request=Request.of("", **label.options), created=label.created)
    same = content.label.content_sha256 == label.content_sha256
    return Replay(content=content, identical=same, difference="" if same else tr("the frames or the sound are not the same"))
