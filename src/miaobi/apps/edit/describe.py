"""`edit describe`: the middle picture of every shot, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from miaobi.apps.common import cues
from miaobi.apps.edit.pieces import Job, existing
from miaobi.apps.edit.schema import Describe
from miaobi.apps.edit.shots import shots
from miaobi.core.apps import Desk
from miaobi.core.artifact import write_text
from miaobi.core.errors import UsageError, unknown
from miaobi.core.types import Content, Modality
from miaobi.data import videos
from miaobi.data.subtitles import Cue
from miaobi.engine import generate
from miaobi.trust import label as labels
from miaobi.trust.formats import Marked, encode_json

NO_MODEL = (
    "describing pictures takes a model of the family caption, and none comes along. "
    "Train one with the recipe caption, then name it: --model artifacts/NAME"
)
SUFFIXES = (".json", ".srt", ".vtt")


def run(inputs: Describe, out: Path, desk: Desk, /) -> Mapping[str, Any]:
    """Start, end and caption of every shot, at `out`: as JSON, or as subtitles.

    Raises:
        UsageError: no model is named, or one that takes no pictures.
    """
    path = existing(inputs.file)
    if out.suffix.lower() not in SUFFIXES:
        raise unknown("file ending", out.suffix, SUFFIXES)
    if not inputs.model:
        raise UsageError(NO_MODEL)
    model, rows, made, source = desk.load(inputs.model), list[dict[str, Any]](), list[Content](), ""
    if Modality.TEXT not in model.card.outputs:
        raise UsageError(NO_MODEL)
    found = shots(path, inputs, desk)
    for number, shot in enumerate(found):
        middle = (shot.start + shot.end) / 2
        frame = next(frame for _, frame in videos.frames_of(path, start=middle, stop=shot.end + 1))
        content = model.generate("", seed=inputs.seed, image=frame, language=inputs.language)[0]
        made.append(content)
        rows.append({"start": round(shot.start, 3), "end": round(shot.end, 3), "caption": content.text.strip()})
        source = content.label.source
        desk.tick("describing", number + 1, len(found))
    value = {"file": str(path), "model": model.card.name, "source": source, "shots": rows}
    text = "\n".join(row["caption"] for row in rows)
    words = labels.visible(labels.visible_language(text)) if out.suffix.lower() == ".json" else ""
    request = Job(app="describe", source=path, inputs=inputs).request()
    label = generate.assembled((text,), made, app="describe", request=request, mark=words).label
    if words:
        marked = Marked(text=text, implicit=labels.implicit(label), label=labels.to_dict(label), visible=words)
        written = json.loads(encode_json(marked)) | {"ai_generated": True} | value
        write_text(out, json.dumps(written, ensure_ascii=False, indent=2) + "\n")
    else:
        cues.write(out, [Cue(row["start"], row["end"], row["caption"]) for row in rows], label=label)
    return {"out": str(out), **value}
