"""The apps that exist: one light `app.py` a folder under `miaobi/apps`, and entry points of the group `miaobi.apps`.

An `App` says what a scenario wants and makes without importing it: the command line, the server and the studio draw their forms from it.
An app never loads a model itself and never prints: its `Desk` hands it models by name and takes its news.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from miaobi.core.errors import MissingExtra, unknown
from miaobi.core.language import tr
from miaobi.core.types import Card, Chunk, Content, Label, Modality

if TYPE_CHECKING:
    from miaobi.core.schema import Schema

GROUP = "miaobi.apps"


class LoadedModel(Protocol):
    """A model that is ready to write, as `miaobi.load` gives it."""

    @property
    def card(self) -> Card:
        """Who the model is."""
        ...

    def generate(self, prompt: str = "", *, n: int = 1, seed: int | None = None, **options: Any) -> list[Content]:
        """`n` labelled contents."""
        ...

    def stream(self, prompt: str = "", *, n: int = 1, seed: int | None = None, **options: Any) -> Iterator[Chunk | Content]:
        """Pieces and progress as they are made, and every content when it is complete; closing the iterator cancels."""
        ...


class Tick(Protocol):
    """Told how far a phase is; `total` is None when it is not known, `detail` stands behind the bar."""

    def __call__(self, phase: str, done: int, total: int | None, detail: str = "") -> None:
        """Take note."""
        ...


class News(Protocol):
    """Told what the person should know, as an English template with named values (the catalogues translate it)."""

    def __call__(self, template: str, /, **values: object) -> None:
        """Take note."""
        ...


def _silent_tick(phase: str, done: int, total: int | None, detail: str = "") -> None:
    """Nobody watches."""


def _silent_news(template: str, /, **values: object) -> None:
    """Nobody reads."""


def _silent_made(content: Content, /) -> None:
    """Nobody keeps it."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What an app is handed: models by name or folder (`load`), and ears for its progress, its news and what it has `made`, each content
    when its file is there."""

    load: Callable[[str], LoadedModel]
    tick: Tick = _silent_tick
    news: News = _silent_news
    made: Callable[[Content], object] = _silent_made


class Run(Protocol):
    """What an app does: `inputs` are validated by its schema, `out` is the file or folder to write; returns plain values about it."""

    def __call__(self, inputs: Any, out: Path, desk: Desk, /) -> Mapping[str, Any]:
        """Do it. An exception (KeyboardInterrupt too) leaves no half-written file under a final name."""
        ...


class Again(Protocol):
    """How an app makes a labelled file of its own once more; what it was made from lies beside it."""

    def __call__(self, label: Label, path: Path, desk: Desk, /) -> Any:
        """Do it; returns a `miaobi.trust.replay.Replay`, which tells what differs."""
        ...


@dataclass(frozen=True, kw_only=True)
class App:
    """What a scenario makes, wants and needs.

    `run` is `"module:function"` (see `Run`), imported on first use. `schema` returns the pydantic type of its inputs: each field is an
    option of the command line and of the studio's form. `extra` is the pip extra that holds its `packages`, which are checked before it
    is imported. `again` is `"module:function"` that makes a labelled file of this app once more; see `Again`.
    """

    name: str
    summary: str
    outputs: frozenset[Modality]
    schema: Callable[[], type[Schema]]
    run: str
    extra: str = ""
    packages: tuple[str, ...] = ()
    again: str = ""

    def runner(self) -> Run:
        """The function behind `run`.

        Raises:
            MissingExtra: a package of the extra is not installed.
        """
        found: Run = self._resolve(self.run)
        return found

    def replayer(self) -> Again | None:
        """The function behind `again`, if there is one; raises as `runner` does."""
        return self._resolve(self.again) if self.again else None

    def _resolve(self, target: str) -> Any:
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                raise MissingExtra(tr("app '{name}'", name=self.name), self.extra, package)
        module, _, name = target.partition(":")
        return getattr(importlib.import_module(module), name)


@functools.cache
def apps() -> Mapping[str, App]:
    """Every known app by name, in alphabetical order. Built-in names win over entry points of the same name.

    An entry point is an `App`, or a module with a tuple `APPS` like that of our own folders.
    """
    from importlib.metadata import entry_points

    found: dict[str, App] = {}
    for point in entry_points(group=GROUP):
        thing = point.load()
        found |= {each.name: each for each in (thing.APPS if isinstance(thing, ModuleType) else (thing,))}
    folder = Path(__file__).parent.parent / "apps"
    for path in sorted(folder.glob("*/app.py")):
        module = importlib.import_module(f"miaobi.apps.{path.parent.name}.app")
        found |= {each.name: each for each in module.APPS}
    return dict(sorted(found.items()))


def app(name: str) -> App:
    """The app of that name, or an error with the nearest known name."""
    known = apps()
    if name not in known:
        raise unknown("app", name, known)
    return known[name]
