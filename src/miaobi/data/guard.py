"""Limits of time and memory around a record, for code that cannot be interrupted: the process ends, its parent goes on without the record.

A drawing of a few bytes can keep a renderer busy for hours inside one call, in which Python runs no handler. So the alarm keeps its default
effect, which is to end the process, and a note beside the unit says which record it was. It counts the processor's time, not the wall's:
what a data set holds must not depend on how busy the machine was.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

MOST_BYTES = 4 << 30  # on top of what the process has
_OWN_ENDS = {getattr(signal, name, 0) for name in ("SIGPROF", "SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGTRAP", "SIGFPE")} - {0}
Guard = Callable[[str], AbstractContextManager[None]]


def unguarded(record: str) -> AbstractContextManager[None]:
    """No limits: what the caller's own process does."""
    return contextlib.nullcontext()


def note_path(folder: Path, unit: int) -> Path:
    """Where the id of the record stands that a worker is at."""
    return folder / f"{unit:06d}.at"


def heavy_path(folder: Path, unit: int) -> Path:
    """Where the ids stand of records at which a worker of this unit ended."""
    return folder / f"{unit:06d}.heavy.json"


def guarding(folder: Path, unit: int, seconds: float) -> Guard:
    """Limits for the records of a unit, in a process that may be ended (POSIX; elsewhere there are none)."""
    path = note_path(folder, unit)

    @contextlib.contextmanager
    def guard(record: str) -> Iterator[None]:
        if not hasattr(signal, "setitimer"):
            yield
            return
        path.write_text(record, encoding="utf-8", errors="surrogatepass")
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            with _less_memory():
                yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            path.unlink(missing_ok=True)

    return guard


@contextlib.contextmanager
def _less_memory() -> Iterator[None]:
    """A limit on the address space; Linux alone says how large it is."""
    try:
        import resource

        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = used + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def blame(folder: Path, unit: int, status: int) -> bool:
    """After a worker's end: list the record that it was at as too heavy.

    False when the end has another cause: it was at no record, or someone else ended it.
    """
    path = note_path(folder, unit)
    if not path.is_file() or -status not in _OWN_ENDS:
        return False
    record = path.read_text(encoding="utf-8", errors="surrogatepass")
    path.unlink()
    if not record:  # ended while the note was written: the next time tells
        return True
    listed = heavy(folder, unit) | {record}
    heavy_path(folder, unit).write_text(json.dumps(sorted(listed)), encoding="utf-8")
    return True


def heavy(folder: Path, unit: int) -> set[str]:
    """The ids of the records that are too heavy."""
    path = heavy_path(folder, unit)
    return set(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else set()
