"""A family from outside the package that does what no family should: it dies, hangs, takes its time, fills the memory, prints."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from miaobi.core.errors import MiaobiError
from miaobi.core.families import Family
from miaobi.core.types import Card, Chunk, Done, Modality, Piece, Record, Request, Usage, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


class Moody:
    """Says its prompt, piece by piece, as its mood is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.card = Card(family="moody", name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        return cls(Path())

    def fit(self, records: Iterable[Record], /) -> Mapping[str, float]:
        return {"loss": 0.0}

    def score(self, records: Sequence[Record], /) -> Iterator[float]:
        return (float(len(record.text)) for record in records)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        mood = request.options["mood"]
        diary = self.folder.parent / "diary.txt"
        for number in range(request.options["pieces"]):
            with diary.open("a", encoding="utf-8") as file:
                file.write(f"{request.prompt}\n")
            if mood == "dead":
                os._exit(7)
            if mood == "stuck":
                time.sleep(600)
            if mood == "wrong":
                raise ZeroDivisionError("a mistake of the family")
            if mood == "refusing":
                raise MiaobiError("I will not say {what}", what=request.prompt)
            if mood == "loud":
                os.write(1, b"what a library prints\n")
                sys.stdout.write("and what Python does\n")
            time.sleep(request.options["seconds"])
            yield Piece(part=f"{request.prompt}{number} ")
        yield Done(usage=Usage(prompt=1, generated=request.options["pieces"]))

    def save(self, folder: Path, /) -> None:
        (folder / "mood.txt").write_text("good", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        if (folder / "mood.txt").read_text(encoding="utf-8") != "good":
            os._exit(8)
        return cls(folder)


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from typing import Literal

    from pydantic import Field

    from miaobi.core.schema import Schema

    class Config(Schema):
        """Nothing to choose."""

    class Options(Schema):
        """How it feels."""

        mood: Literal["fine", "dead", "stuck", "wrong", "refusing", "loud"] = "fine"
        """What it does."""
        pieces: int = Field(3, ge=1, le=10_000)
        """How much it says."""
        seconds: float = Field(0.0, ge=0, le=60)
        """How long it thinks about each."""

    return Config, Options


FAMILY = Family(
    name="moody",
    summary="does what no family should",
    outputs=frozenset({Modality.TEXT}),
    verbs=frozenset({Verb.FIT, Verb.GENERATE, Verb.SCORE}),
    model="miaobi_moody:Moody",
    schemas=_schemas,
)
