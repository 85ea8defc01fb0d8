"""Fair timing: contenders in processes of their own, run in turns, compared by the median of their ratios.

A round runs every contender once, so a busy moment hits all of them; the order turns from round to round. A worker is a Python file that
loads its model, says `{"ready": ...}`, and answers each line of JSON on its input with one on its output (`serve`). So no contender's
thread pool, allocator or imported library is in another's way, and a peer may live in another environment.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks.md"


class Worker:
    """A contender in its own process."""

    def __init__(self, command: Sequence[str], *, threads: int) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (open as long as the worker lives)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment
        )
        self.about = self._read()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request, wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End of input ends the worker."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith('{"'):  # libraries print as well
                answer: dict[str, Any] = json.loads(line)
                return answer
        code = self._process.wait()
        self._errors.seek(0)
        raise RuntimeError(f"{self._process.args} ended with {code}: {self._errors.read()[-2000:]}")


def serve(about: Mapping[str, Any], answer: Callable[..., Mapping[str, Any]]) -> None:
    """The worker's side: say `about`, then answer requests until the input ends."""
    print(json.dumps(dict(about)), flush=True)
    for line in sys.stdin:
        print(json.dumps(dict(answer(**json.loads(line)))), flush=True)


class PeakMemory:
    """Seconds and resident memory of what happens within, above what the process has before; `figures` when it is over (Linux only)."""

    def __enter__(self) -> Self:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak so far is forgotten
        self._before, self._started = _memory("VmRSS"), time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.figures = {"load_seconds": time.perf_counter() - self._started, "load_peak_bytes": _memory("VmHWM") - self._before}


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def rounds(contenders: Sequence[str], run: Callable[[str], float], *, number: int) -> dict[str, list[float]]:
    """`run(name)` of every contender in each of `number` rounds, after one that does not count."""
    for name in contenders:
        run(name)
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(number):
        start = turn % len(contenders)
        for name in (*contenders[start:], *contenders[:start]):
            values[name].append(run(name))
    return values


def ratio(values: Mapping[str, Sequence[float]], name: str, base: str) -> float:
    """The median over the rounds of how much more `name` has than `base`."""
    return statistics.median(mine / theirs for mine, theirs in zip(values[name], values[base], strict=True))


def machine() -> str:
    """What it ran on, in words."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"


def write_section(name: str, text: str) -> None:
    """Put `text` between the marks of section `name` in docs/benchmarks.md; other sections stay as they are."""
    start, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    page = RESULTS.read_text(encoding="utf-8") if RESULTS.is_file() else "# Benchmarks\n\nEach section is written by its script.\n"
    if start not in page:
        page += f"\n{start}\n{end}\n"
    before, rest = page.split(start, 1)
    RESULTS.write_text(f"{before}{start}\n{text.strip()}\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")
