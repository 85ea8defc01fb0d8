"""What a person sees when we made the mistake: one line, and a log file to send along."""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections.abc import Sequence

from miaobi.core.errors import MiaobiError
from miaobi.core.language import tr


def report(error: Exception, command: Sequence[str]) -> str:
    """Write the traceback to `log/` of the home folder and return the words for the person."""
    from miaobi import __version__
    from miaobi.core.artifact import write_text
    from miaobi.core.home import home

    short = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    path = home() / "log" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    system = f"miaobi {__version__}, Python {platform.python_version()}, {platform.platform()}"
    details = "".join(traceback.format_exception(error))
    try:
        write_text(path, f"{system}\n{' '.join(command)}\n\n{details}")
    except (OSError, MiaobiError):
        return tr("something went wrong that should not ({short}). Set MIAOBI_DEBUG=1 to see where, and please report it", short=short)
    return tr("something went wrong that should not ({short}). Please report it with the file {path}", short=short, path=path)
