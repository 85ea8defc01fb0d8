"""The data card."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from miaobi.core.artifact import write_text
from miaobi.data.plan import Plan
from miaobi.data.statistics import Statistics


def write(folder: Path, plan: Plan, statistics: Statistics, manifest: Mapping[str, Any], *, dropped: Counter[str], read: int) -> None:
    values = {
        "name": manifest["name"],
        "read": read,
        "records": dict(statistics.records),
        "dropped": dict(dropped.most_common()),
        "meta": {k: dict(c.most_common(30)) for k, c in statistics.meta.items() if c},
    }
    write_text(folder / "card.json", json.dumps(values, ensure_ascii=False, indent=1) + "\n")
