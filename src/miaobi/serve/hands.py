"""Processes that do the jobs of a library as long as a server lives: `python -m miaobi.serve.hands LIBRARY [KIND ...]`.

Each begins when there is something to do. Its standard input is a pipe from the server: when that ends, however the server went, the
process puts its job back into the line (a training writes a checkpoint first) and ends. There are two, so that a film does not wait for a
training of hours.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from miaobi.library.queue import Queue

STOP_SECONDS = 20.0
LONG = frozenset({"train", "adapt", "tune", "distill", "evaluate"})  # kinds that take hours


class Hands:
    """The server's side: one process for long jobs and one for all others."""

    def __init__(self, library_at: str) -> None:
        self.library_at = library_at
        self._processes: dict[bool, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self._closed = False

    def begin(self, kind: str) -> None:
        """See that the process for this kind of job runs. It looks for work by itself; call this when a job was put in line."""
        from miaobi.serve.kinds import kinds

        long = kind in LONG
        with self._lock:
            running = self._processes.get(long)
            if self._closed or (running is not None and running.poll() is None):
                return
            mine = sorted(name for name in kinds() if (name in LONG) == long)
            command = [sys.executable, "-m", "miaobi.serve.hands", self.library_at, *mine]
            pipe, null = subprocess.PIPE, subprocess.DEVNULL
            self._processes[long] = subprocess.Popen(command, stdin=pipe, stdout=null, start_new_session=True)

    def resume(self, queue: Queue) -> None:
        """Go on with what waits since before the server was stopped, or was lost with it."""
        from miaobi.library.queue import State

        for kind in {job.kind for job in queue.list([State.QUEUED, State.RUNNING, State.LOST])}:
            self.begin(kind)

    def close(self) -> None:
        """Let them put down what they have, and end them."""
        with self._lock:
            self._closed = True
            for process in self._processes.values():
                assert process.stdin is not None
                process.stdin.close()
            for process in self._processes.values():
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            self._processes.clear()


def main(library_at: str, kinds: Sequence[str]) -> int:
    """Do jobs until nobody holds the other end of the pipe."""
    from miaobi.serve.worker import work

    def listen() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        threading.Thread(target=listen, daemon=True).start()
        work(library_at, kinds=kinds)
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
