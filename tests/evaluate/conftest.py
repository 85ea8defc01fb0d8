"""Small real things that the tests of evaluation share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from miaobi.core.types import Content, Label, Record
from miaobi.engine.metrics import Evidence, Sample

MakeEvidence = Callable[..., Evidence]


def record(text: str, number: int = 0) -> Record:
    """A record of one text."""
    return Record(id=f"r{number}", parts=(text,))


def sample(text: str, reference: str = "") -> Sample:
    """A generated content as the engine would hand it on."""
    label = Label(family="test", model="test", source="", seed=0, request_sha256="", created="", software="")
    return Sample(content=Content(parts=(text,), label=label), reference=record(reference) if reference else None)


@pytest.fixture
def evidence() -> MakeEvidence:
    """Evidence of generated texts, of the real ones beside them, and of training texts."""

    def make(texts: Sequence[str], references: Sequence[str] = (), training: Sequence[str] = ()) -> Evidence:
        real = list(references) or [""] * len(texts)
        samples = [sample(text, other) for text, other in zip(texts, real, strict=True)]
        return Evidence(samples={"": samples}, training=[record(text, number) for number, text in enumerate(training)])

    return make
