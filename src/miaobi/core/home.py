"""Where things live: `MIAOBI_HOME`, else the platform's data folder; `cache/` for downloads, `models/` for pulled models, `log/`."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder of downloads, pulled models and logs. It need not exist yet."""
    chosen = os.environ.get("MIAOBI_HOME")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("miaobi", appauthor=False))


def builtin() -> Path:
    """The folder of the models that ship inside the package."""
    return Path(__file__).parent.parent / "builtin"
