"""Figures for Prometheus: requests, time to first token, tokens per second, failures, the pool's queue, memory.

Labels are few and known beforehand (a route's template, a served model's name), so that no client can make series without end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from miaobi.core.types import Done, Piece

if TYPE_CHECKING:
    from miaobi.core.types import Chunk, Content
    from miaobi.serve.pool import Pool

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
RATES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
OTHER = "(other)"
NOW = {  # of the pool, by their names in its status
    "waiting": "Requests that wait for a model",
    "queue": "Requests that may wait at most",
    "running": "Requests that models work on",
    "memory_bytes": "Memory of the processes of all models",
    "budget_bytes": "Memory that models may take together",
}
SINCE = {
    "asked": "Requests that were let in",
    "done": "Requests that were answered",
    "failed": "Requests that ended in an error of the model or of what was asked",
    "cancelled": "Requests that nobody wanted any more",
    "refused": "Requests that were refused because too many waited",
    "lost": "Requests whose process died",
    "loads": "Times that a model was loaded",
    "evictions": "Times that a model was let go, to make room or because it was trained again",
    "restarts": "Times that a process which had died was replaced",
}


class Figures:
    """The figures of one server, in a registry of its own."""

    def __init__(self, pool: Pool) -> None:
        self.registry = CollectorRegistry()
        self._pool = pool
        route = ("route", "method")
        self.requests = Counter("miaobi_requests", "Requests answered", (*route, "status"), registry=self.registry)
        self.seconds = Histogram("miaobi_request_seconds", "Time to the end of the answer", route, buckets=SECONDS, registry=self.registry)
        self.running = Gauge("miaobi_requests_running", "Requests under way", registry=self.registry)
        self.gone = Counter("miaobi_clients_gone", "Requests whose client left before the answer was whole", registry=self.registry)
        self.first = Histogram(
            "miaobi_first_token_seconds", "Time to the first piece of an answer", ("model",), buckets=SECONDS, registry=self.registry
        )
        self.rate = Histogram(
            "miaobi_tokens_per_second", "Tokens (or steps) a second of one answer", ("model",), buckets=RATES, registry=self.registry
        )
        self.tokens = Counter("miaobi_tokens", "Tokens (or steps) read and made", ("model", "direction"), registry=self.registry)
        self.failures = Counter(
            "miaobi_generation_failures", "Generations that failed, by error", ("model", "error"), registry=self.registry
        )
        self.memory = Gauge("miaobi_memory_bytes", "Resident memory of the server and its workers", registry=self.registry)
        ProcessCollector(registry=self.registry)
        self.registry.register(_OfPool(pool))

    def render(self, memory: int) -> bytes:
        """Everything, as Prometheus reads it; `memory` are the bytes of `memory_bytes`, which is slow."""
        self.memory.set(memory)
        return generate_latest(self.registry)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests.labels(route, method, str(status)).inc()
        self.seconds.labels(route, method).observe(seconds)

    def watch(self, model: str) -> Watch:
        """A watch over one generation."""
        return Watch(self, model if self._pool.model(model) else OTHER)


class Watch:
    """What is measured of one generation, while its chunks go by."""

    def __init__(self, figures: Figures, model: str) -> None:
        self._figures, self._model = figures, model
        self._began = time.perf_counter()
        self._first = 0.0
        self.prompt = self.generated = 0

    def see(self, chunk: Chunk | Content) -> None:
        """Note when the first piece came, and what each content cost."""
        if isinstance(chunk, Piece) and not self._first:
            self._first = time.perf_counter()
            self._figures.first.labels(self._model).observe(self._first - self._began)
        if isinstance(chunk, Done):
            self.prompt, self.generated = self.prompt + chunk.usage.prompt, self.generated + chunk.usage.generated

    def end(self, error: BaseException | None) -> None:
        """Write down what was seen."""
        if error is not None:
            self._figures.failures.labels(self._model, type(error).__name__).inc()
        self._figures.tokens.labels(self._model, "read").inc(self.prompt)
        self._figures.tokens.labels(self._model, "made").inc(self.generated)
        if self._first and self.generated > 1 and (took := time.perf_counter() - self._first) > 0:
            self._figures.rate.labels(self._model).observe((self.generated - 1) / took)


class _OfPool(Collector):
    """The pool's own figures, asked for when Prometheus asks."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        """What `Pool.status()` says: a gauge of what goes up and down, a counter of what happened, and what each process holds."""
        status = self._pool.status()
        for name, words in NOW.items():
            yield GaugeMetricFamily(f"miaobi_pool_{name}", words, value=status[name])
        for name, words in SINCE.items():
            yield CounterMetricFamily(f"miaobi_pool_{name}", words, value=status[name])
        held = GaugeMetricFamily("miaobi_model_memory_bytes", "Memory of the process of a model that is loaded", labels=("model",))
        for model, process in status["models"].items():
            held.add_metric((model,), process["memory_bytes"])
        yield held

    def describe(self) -> Iterator[Metric]:
        """Nothing is asked of the pool at registration."""
        return iter(())


def memory_bytes() -> int:
    """Resident memory of this process and all below it; 0 where the system does not tell (/proc)."""
    parents, resident = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)], resident[int(folder.name)] = int(fields[1]), int(fields[21])
        except (OSError, IndexError, ValueError):  # it ended meanwhile
            continue
    ours = {os.getpid()}
    while more := {process for process, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(resident.get(process, 0) for process in ours) * os.sysconf("SC_PAGE_SIZE") if resident else 0
