"""A content that went through the door, from a model that says what it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from miaobi.core.schema import Schema
from miaobi.core.types import Card, Chunk, Content, Done, Modality, Piece, Request, Verb
from miaobi.engine.generate import collect


class SayOptions(Schema):
    """How it is said."""

    temperature: float = 1e-5
    stop: tuple[str, ...] = ()


class Say:
    """A model whose content is the prompt."""

    def __init__(self, source: str = "ab12") -> None:
        self.card = Card(family="say", name="echo", outputs=frozenset({Modality.TEXT}), verbs=frozenset({Verb.GENERATE}), source=source)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        yield Piece(part=request.prompt)
        yield Done(notes={"tries": 1})


@pytest.fixture
def content() -> Callable[[str], Content]:
    """`content(text)`: a labelled content of that text."""
    return lambda text: collect(Say(), Request.of(text, seed=7), schema=SayOptions)[0]


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """English messages, and no producer or word list of the machine's owner."""
    monkeypatch.setenv("MIAOBI_LANG", "en")
    monkeypatch.delenv("MIAOBI_PRODUCER", raising=False)
    monkeypatch.delenv("MIAOBI_WORDLIST", raising=False)
