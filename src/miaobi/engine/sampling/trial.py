"""Grammars are prepared on trial first, in a process that may hang or crash in our stead: `python -m miaobi.engine.sampling.trial`.

A schema of fifty characters can keep llguidance busy for minutes, and one whose definitions name each other in a long chain overflows its
stack; a thread cannot be stopped, nor survive that. So a process of bytes alone prepares the grammar, under its own clock and with less
stack and memory than this one has. What it comes through is prepared here again, which takes no longer.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import functools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

SECONDS = 0.75  # for one grammar
WAIT_SECONDS = 0.5  # for those that are before it
MEMORY_BYTES = 2 << 30  # address space
STACK_BYTES = 1 << 20

TOO_MUCH = "too much"
CROWDED = "crowded"


class Trial:
    """The process, started when it is first wanted and again when a grammar has ended it. One grammar is tried at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def problem(self, text: str, *, regex: bool) -> str:
        """What is wrong with an expression or a schema: `TOO_MUCH`, `CROWDED` when it was not tried, nothing when it can be prepared.

        What llguidance has to say against it is no affair of the trial: preparing it here says so again.
        """
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            return CROWDED
        try:
            process = self._process or _start()
            is_survived = _is_survived(process, json.dumps([text, regex]).encode())
            if not is_survived:
                _end(process)
            self._process = process if is_survived else _start()  # the next one need not wait for it
            return "" if is_survived else TOO_MUCH
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)


@functools.cache
def trial() -> Trial:
    """That of this process."""
    found = Trial()
    atexit.register(found.close)
    return found


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "miaobi.engine.sampling.trial"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _is_survived(process: subprocess.Popen[bytes], line: bytes) -> bool:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(line + b"\n")
        process.stdin.flush()
        return bool(process.stdout.readline())
    except OSError:  # it is gone
        return False


def main() -> None:
    """Try what stands on standard input, a line each; whoever takes too long ends the process."""
    _hold_memory()
    tokenizer = _bytes()
    with Path(os.devnull).open("w", encoding="ascii") as nowhere:
        for line in sys.stdin.buffer:
            text, regex = json.loads(line)
            faulthandler.dump_traceback_later(SECONDS, exit=True, file=nowhere)  # a thread of C: no lock of Python's holds it up
            _try(tokenizer, text, regex=regex)
            faulthandler.cancel_dump_traceback_later()
            sys.stdout.write("\n")
            sys.stdout.flush()


def _bytes() -> Any:
    from miaobi.engine.sampling.guide import tokenizer_of
    from miaobi.engine.sampling.spelling import Spelling

    spelling = Spelling((*(bytes([byte]) for byte in range(256)), b""))
    return tokenizer_of(spelling, size=257, end_tokens=[256])


def _try(tokenizer: Any, text: str, *, regex: bool) -> None:
    """Prepare the grammar and its first token on a stack of `STACK_BYTES`."""
    from miaobi.engine.sampling import guide

    def work() -> None:
        with contextlib.suppress(guide.Impossible):
            guide.matcher_of(tokenizer, text, regex=regex).compute_bitmask()

    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def _hold_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
