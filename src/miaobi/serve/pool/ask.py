"""What a pool is asked and told: one frozen value a request, the models that it serves, its settings, and the errors that only it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.types import NOTHING, Modality, Part, Turn, Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request to a model by its name.

    `given` are pictures, masks, sounds … by the family's names, which join the last turn of the user; without a `seed` one is drawn. `mark`
    and `watermark` are those of `Loaded.generate`, `created` is the time in the labels (by default now).
    """

    model: str
    turns: tuple[Turn, ...] = ()
    options: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    seed: int | None = None
    given: Mapping[str, bytes | Sequence[bytes]] = field(default_factory=lambda: NOTHING)
    mark: str = "none"
    watermark: str | None = None
    created: str = ""

    @classmethod
    def of(cls, model: str, prompt: str | Part = "", /, *, seed: int | None = None, **options: Any) -> Ask:
        """A request of one user turn: `Ask.of("poet", "中秋月夜", form="七绝")`."""
        return cls(model=model, turns=(Turn(role="user", parts=(prompt,)),), options=options, seed=seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model that can be asked. `bytes` is what it takes (or would take) in memory; `context` its longest text in tokens, 0 without one;
    `created` when its files were written, in seconds since 1970."""

    name: str
    family: str
    outputs: frozenset[Modality]
    verbs: frozenset[Verb]
    loaded: bool
    bytes: int
    context: int
    created: int
    inputs: frozenset[str] = frozenset()
    licence: str = ""


class PoolSettings(Protocol):
    """What a pool reads of the settings that it is given; `Options` are such, and so are the server's."""

    @property
    def models(self) -> tuple[str, ...]:
        """Names that are served; empty: every model that is on this machine."""
        ...

    @property
    def keep(self) -> tuple[str, ...]:
        """Models that are loaded at once and never let go."""
        ...

    @property
    def device(self) -> str:
        """Where models compute."""
        ...

    @property
    def threads(self) -> int:
        """Of one process; 0: as many as it likes."""
        ...

    @property
    def workers(self) -> int:
        """Processes side by side, one a model; 0: as many as fit into the memory."""
        ...

    @property
    def memory_bytes(self) -> int:
        """What loaded models may take together; 0: most of what is free when the pool starts."""
        ...

    @property
    def queue(self) -> int:
        """Requests that may wait; more are refused."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The settings of a pool that belongs to no server."""

    models: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    device: str = "cpu"
    threads: int = 0
    workers: int = 0
    memory_bytes: int = 0
    queue: int = 64


class Overloaded(MiaobiError):
    """Too many requests wait already."""

    status = 429

    def __init__(self, retry_after: float) -> None:
        super().__init__("too many requests are waiting. Try again in {seconds} seconds", seconds=max(1, round(retry_after)))
        self.retry_after = retry_after


class WorkerLost(MiaobiError):
    """The process that worked on the request died; another takes its place."""

    status = 503

    def __init__(self, model: str) -> None:
        super().__init__("the process of {model} died while it worked on this; another takes its place. Try again", model=model)


class TooLarge(UsageError):
    """A model or a request that does not fit into the memory, found before anything was allocated."""
