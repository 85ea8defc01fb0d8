"""A file of a work made again: it and what it needs, by the order in the manifest, in a folder that goes away; what differs first is named.

What a person put in place of a part is taken as it lies there. Nothing of the work itself is touched.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from miaobi.apps.create.run import run
from miaobi.apps.create.schema import Inputs
from miaobi.apps.create.studio import MANIFEST, Made, remembered
from miaobi.core.apps import Desk
from miaobi.core.errors import UsageError
from miaobi.core.language import tr
from miaobi.core.schema import validate
from miaobi.core.types import Label
from miaobi.trust import label as labels
from miaobi.trust.replay import Replay


def again(label: Label, path: Path, desk: Desk, /) -> Replay:
    """The file made once more by the same order.

    Raises:
        UsageError: no manifest lies where the file's work should be, or the file is none of its files.
    """
    folder = next((each for each in (path.parent, path.parent.parent) if (each / MANIFEST).is_file()), None)
    if folder is None:
        raise UsageError(
            "{path} is a part of a work, and is made again in its folder only, where {manifest} lies", path=path, manifest=MANIFEST
        )
    memory = remembered(folder / MANIFEST)
    parts = memory.parts
    name = path.resolve().relative_to(folder.resolve()).as_posix()
    stage = next((made.stage for made in parts.values() if name in made.files), "")
    if not stage:
        raise UsageError("{path} is no file of the work in {folder}", path=path, folder=folder)
    own = {target: str(folder / file) for target, file in memory.order.get("replace", {}).items()}
    inputs = validate(Inputs, {**memory.order, "replace": own, "only": [stage]}, str(folder / MANIFEST))
    with tempfile.TemporaryDirectory(prefix="miaobi-again-") as new:
        made = run(inputs, Path(new), desk)
        content = made["contents"].get(name)
        if content is None:
            raise UsageError("{path} is your own file, or the work would now be made without it", path=path)
        difference = _difference(folder, parts, Path(new), remembered(Path(new) / MANIFEST).parts)
        same = not difference or content.label.content_sha256 == label.content_sha256
    return Replay(content=content, identical=same, difference="" if same else difference)


def _difference(folder: Path, parts: Mapping[str, Made], new: Path, new_parts: Mapping[str, Made]) -> str:
    """The first file, in the order in which the work was made, whose content is another now."""
    for part, made in parts.items():
        there = new_parts[part].files if part in new_parts else {}
        for name in made.files:
            if name in there and _content(folder / name) != _content(new / name):
                return tr("the first part that differs is {part} ({file})", part=part, file=name)
    return ""


def _content(path: Path) -> str:
    """What a file holds, its label aside."""
    if path.suffix in (".json", ".yaml", ".srt", ".vtt") or not path.is_file():
        return path.read_text(encoding="utf-8") if path.is_file() and not path.name.endswith(".aigc.json") else ""
    found = labels.read_marked(path)
    return getattr(found, "sha256", "") or getattr(found, "text", "")
