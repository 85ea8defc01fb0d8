"""A worker: takes the next job of a library, lets a child process do it, and looks for another."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from miaobi.core.errors import Busy
from miaobi.library.database import Away, patiently
from miaobi.library.queue import Job, NotOurs, Queue, State
from miaobi.library.store import Library
from miaobi.serve.child import STOPPED

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 60.0  # for a child to save what it has
OnJob = Callable[[Job], None]


def work(library_at: str, *, kinds: Sequence[str] = (), only: str = "", drain: bool = False, on_job: OnJob | None = None) -> int:
    """Do jobs until stopped (Ctrl-C, SIGTERM); returns how many were done. A job in hand then goes back into the line.

    Args:
        library_at: where the library is; see `Library.open`.
        only: just this job.
        drain: return when there is nothing left to do, instead of waiting for more.
        on_job: told about the job in hand several times a second, and once when it ends.
    """
    library = Library.open(library_at)
    queue, name, count = Queue(library.database), f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}", 0
    try:
        while True:
            job = patiently(lambda: queue.claim(name, kinds=kinds, only=only))
            if job is not None:
                _do(queue, library_at, job, name, on_job)
                count += 1
            if only and patiently(lambda: queue.get(only)).state not in (State.QUEUED, State.RUNNING, State.LOST):
                return count
            if drain and job is None and not only:
                return count
            if job is None:
                time.sleep(LOOK_SECONDS)
    finally:
        library.close()


def _do(queue: Queue, library_at: str, job: Job, name: str, on_job: OnJob | None) -> None:
    """One job in a child, to its end; the child dies of Ctrl-C only after it has saved."""
    command = [sys.executable, "-m", "miaobi.serve.child", library_at, job.id, name]
    child = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        with _terminable():
            while child.poll() is None:
                if on_job is not None:
                    with contextlib.suppress(Away, Busy):  # the child goes on, and beats again when the database is back
                        on_job(queue.get(job.id))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(LOOK_SECONDS)
    except BaseException:
        child.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(PATIENCE_SECONDS)
        child.kill()
        with contextlib.suppress(NotOurs):
            queue.release(job.id, name)
        raise
    with contextlib.suppress(NotOurs):  # it wrote down its end itself
        patiently(lambda: queue.release(job.id, name, died=child.returncode != STOPPED))
    if on_job is not None:
        on_job(patiently(lambda: queue.get(job.id)))


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends a worker as Ctrl-C does."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # a worker in a thread is stopped by its process
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
