"""A film made again from its label alone: the timeline is in it, and the hashes of every file and of everything that models made."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

from miaobi.apps.common.film import draft, render
from miaobi.apps.common.script import Script
from miaobi.core.apps import Desk
from miaobi.core.artifact import file_sha256
from miaobi.core.errors import UsageError
from miaobi.core.language import tr
from miaobi.core.types import Label
from miaobi.trust.replay import Replay


def again(label: Label, path: Path, desk: Desk, /) -> Replay:
    """The film of `path` once more, from the timeline in its label and the files beside it; tells the first stage that differs.

    Raises:
        UsageError: a file that it was made from is not beside it, or is another one now.
    """
    check_files(label.options.get("files", {}), path)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "timeline.yaml"
        text.write_text(label.prompt, encoding="utf-8", newline="")
        script = dataclasses.replace(Script.load(text), folder=path.parent, name=str(path))
        options = {key: value for key, value in label.options.items() if key != "files"}
        used = draft(script) if options.get("draft") else script
        made = render(used, Path(folder) / f"again{path.suffix}", desk, app=label.model, options=options, created=label.created).content()
    if made.label.content_sha256 == label.content_sha256:
        return Replay(content=made, identical=True)
    return Replay(content=made, identical=False, difference=first_difference(label, made.label))


def check_files(files: Mapping[str, str], path: Path) -> None:
    """Every file that something was made from lies beside it, as it was.

    Raises:
        UsageError: it does not.
    """
    for name, sha256 in files.items():
        beside = path.parent / name
        if not beside.is_file():
            raise UsageError("{path} was made from {name}, which is not beside it", path=path, name=name)
        if file_sha256(beside) != sha256:
            raise UsageError("{path} was made from another {name} than the one that is beside it now", path=path, name=name)


def first_difference(before: Label, now: Label) -> str:
    """The first stage that differs: what a model made, or the putting together."""
    for old, new in zip(before.parents, now.parents):
        if old != new:
            return tr("the first thing that differs is what {model} made", model=old.partition(":")[0])
    return tr("everything that it was made from is the same, and the frames or the sound are not")
