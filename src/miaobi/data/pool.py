"""Units of work on all cores: a few worker processes, each fed one unit at a time through a pipe.

A worker that ends over a record (see `data.guard`) is followed by another, which leaves that record out.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from miaobi.core import errors
from miaobi.core.errors import MiaobiError
from miaobi.data.guard import blame
from miaobi.data.plan import Plan
from miaobi.data.worker import run_unit

RECORD_SECONDS = 20.0  # of the processor, the most that one record with media may take
SMALL_BYTES = 8 << 20  # below, starting processes costs more than they win


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_units(plan: Plan, work: Path, units: Sequence[int], *, workers: int | None, on_done: Callable[[int], None]) -> None:
    """Run the units in any order; `on_done` is called in this thread.

    Raises:
        MiaobiError: what a unit raised; the others stop.
    """
    weight = sum(piece.weight for unit in units for piece in plan.units[unit])
    count = min(workers or (num_cores() if weight > SMALL_BYTES else 1), len(units))
    if count <= 1 and not (plan.pictures and workers is None):  # what is drawn may have to be ended
        for unit in units:
            run_unit(plan, unit, work / "units")
            on_done(unit)
        return
    answers: queue.Queue[int | BaseException] = queue.Queue()
    waiting, lock = iter(units), threading.Lock()
    hands = [_Worker(work) for _ in range(count)]
    threads = [threading.Thread(target=_feed, args=(hand, waiting, lock, answers), daemon=True) for hand in hands]
    for thread in threads:
        thread.start()
    try:
        for _ in units:
            answer = answers.get()
            if isinstance(answer, BaseException):
                raise answer
            on_done(answer)
    finally:
        for hand in hands:
            hand.stop()
        for thread in threads:
            thread.join()


class _Worker:
    """A worker process, and the one after it when it ends over a record."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._stopped = False
        self._lock = threading.Lock()
        self._process = _start(work)

    def ask(self, unit: int) -> dict[str, Any] | None:
        """The answer about a unit; None when the process ended for a reason that is not in the data."""
        while True:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.write(f"{unit}\n")
                self._process.stdin.flush()
            line = self._process.stdout.readline()
            if line:
                answer: dict[str, Any] = json.loads(line)
                return answer
            self._process.wait()
            with self._lock:
                if self._stopped or not blame(self._work / "units", unit, self._process.returncode):
                    return None
                self._process.communicate()
                self._process = _start(self._work)

    @property
    def complaint(self) -> str:
        """What the process said last."""
        assert self._process.stderr is not None
        return self._process.stderr.read().strip()[-2000:]

    def stop(self) -> None:
        """End the process; no other follows."""
        with self._lock:
            self._stopped = True
            self._process.kill()
        self._process.wait()


def _start(work: Path) -> subprocess.Popen[str]:
    """A worker that imports from where we do; one core each, so libraries in it must not start threads."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        "PYTHONUTF8": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "miaobi.data.worker", str(work), str(RECORD_SECONDS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment,
    )


def _feed(worker: _Worker, waiting: Iterator[int], lock: threading.Lock, answers: queue.Queue[int | BaseException]) -> None:
    """Give units to one worker until there are none, or it fails."""
    while True:
        with lock:
            unit = next(waiting, None)
        if unit is None:
            return
        answer = worker.ask(unit)
        if answer is None:
            reason = worker.complaint or "it was killed (out of memory?)"
            answers.put(MiaobiError("a worker process ended unexpectedly: {reason}", reason=reason))
            return
        if "error" in answer:
            answers.put(_error(answer))
            return
        answers.put(unit)


def _error(answer: dict[str, Any]) -> MiaobiError:
    """The error that a worker met, as the same kind here."""
    kind = getattr(errors, answer["error"], MiaobiError)
    error: MiaobiError = kind.__new__(kind)
    MiaobiError.__init__(error, answer["template"], **answer["values"])  # MissingExtra has its own way of being made
    return error
