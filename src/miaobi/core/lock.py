"""A folder for one process at a time, by a lock on a file in it that the system lets go of when the process dies, also under kill -9."""

from __future__ import annotations

import os
from typing import IO, Any


def taken(file: IO[Any], /) -> bool:
    """Lock an open file for as long as it is open, without waiting; True when another process holds it."""
    try:
        if os.name == "nt":  # pragma: no cover
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # Windows says the latter
        return True
    return False
