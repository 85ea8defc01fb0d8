"""`edit cuts`: the shots of a film with their times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from miaobi.apps.edit.pieces import existing
from miaobi.apps.edit.schema import Cuts
from miaobi.apps.edit.shots import shots
from miaobi.core.apps import Desk
from miaobi.core.artifact import write_text


def run(inputs: Cuts, out: Path, desk: Desk, /) -> Mapping[str, Any]:
    """Start and end of every shot in seconds, written to `out` as JSON."""
    path = existing(inputs.file)
    found = [{"start": round(shot.start, 3), "end": round(shot.end, 3)} for shot in shots(path, inputs, desk)]
    value = {"file": str(path), "shots": found}
    write_text(out, json.dumps(value, ensure_ascii=False, indent=2) + "\n")
    return {"out": str(out), **value}
