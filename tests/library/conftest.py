"""A library in a folder, and one in a real PostgreSQL that is started once; contents that went through the one door."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from miaobi.core.families import family
from miaobi.core.types import Card, Chunk, Content, Done, Media, Modality, Part, Piece, Request
from miaobi.engine import generate
from miaobi.library.store import Library

Make = Callable[..., Content]
_times = itertools.count()


class Echo:
    """A model that gives back what it was made with, through the family of the smallest options."""

    def __init__(self, parts: tuple[Part, ...], name: str) -> None:
        kind = family("ngram")
        self.parts = parts
        self.card = Card(family="ngram", name=name, outputs=kind.outputs, verbs=kind.verbs, source="0" * 64)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Every part, then the end."""
        for part in self.parts:
            yield Piece(part=part)
        yield Done()


@pytest.fixture(scope="session")
def make() -> Make:
    """`make("text", prompt=…)`: a labelled content of a text or of media."""

    def build(*parts: Part, prompt: str = "写一首诗", model: str = "poet", given: Media | None = None, seed: int = 0) -> Content:
        asked = Request.of((prompt, given) if given else prompt, seed=seed)
        created = f"2026-01-01T00:00:00Z #{next(_times)}"
        return generate.collect(Echo(parts, model), asked, created=created)[0]

    return build


@pytest.fixture(scope="session")
def red() -> Media:
    """A small red picture."""
    return picture((255, 0, 0))


def picture(colour: tuple[int, int, int]) -> Media:
    """A picture of one colour."""
    import numpy as np

    from miaobi.data.pictures import encode

    pixels = np.full((8, 8, 4), (*colour, 255), np.uint8)
    return Media(modality=Modality.IMAGE, mime="image/png", data=encode(pixels), name="image")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL that runs for these tests only. It runs as a user of its own, who may not enter pytest's folders."""
    with tempfile.TemporaryDirectory(prefix="miaobi-postgres-", ignore_cleanup_errors=True) as folder:
        server = pytest.importorskip("pgserver").get_server(folder)
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Library]:
    """An empty library, once in each kind of database."""
    small = request.param == "sqlite"
    opened = Library.open(tmp_path / "library") if small else in_postgres(request.getfixturevalue("postgres"), tmp_path)
    yield opened
    opened.close()


def in_postgres(address: str, folder: Path) -> Library:
    """A library whose tables are new in the PostgreSQL at that address."""
    import psycopg

    from miaobi.library.database import Database
    from miaobi.library.files import Files

    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return Library(Database(address), Files(folder / "files"))
