"""A family from outside the package: it remembers the lines of its corpus and says some of them. The tests install it as a plugin."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from miaobi.core.families import Family
from miaobi.core.types import Card, Chunk, Done, Modality, Piece, Record, Request, Usage, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


class Parrot:
    """Draws lines with the request's seed."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = list(lines)
        self.card = Card(family="parrot", name="parrot", outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        return cls([])

    def fit(self, records: Iterable[Record], /) -> Mapping[str, float]:
        self.lines = [line for record in records for line in record.text.splitlines() if line]
        return {"lines": float(len(self.lines)), "loss": 0.0}

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        rng = random.Random(request.seed)
        chosen = [rng.choice(self.lines) for _ in range(request.options["lines"])]
        text = "\n".join([*([request.prompt] if request.prompt else []), *chosen]) + {"bang": "!", "none": ""}[request.options["ending"]]
        for letter in text.upper() if request.options["loud"] else text:
            yield Piece(part=letter)
        yield Done(usage=Usage(prompt=len(request.prompt), generated=len(text)))

    def save(self, folder: Path, /) -> None:
        (folder / "lines.json").write_text(json.dumps(self.lines, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        return cls(json.loads((folder / "lines.json").read_text(encoding="utf-8")))


def endings() -> list[str]:
    return ["bang", "none"]


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from pydantic import Field

    from miaobi.core.schema import Schema

    class Config(Schema):
        """Nothing to choose."""

    class Options(Schema):
        """How the parrot speaks."""

        lines: int = Field(2, ge=1, le=100)
        """How many lines, 100 % remembered."""
        loud: bool = False
        """Everything in capitals."""
        ending: str = Field("none", json_schema_extra={"choices": "miaobi_parrot:endings"})
        """What stands at the end."""

    return Config, Options


FAMILY = Family(
    name="parrot",
    summary="says again what it heard",
    outputs=frozenset({Modality.TEXT}),
    verbs=frozenset({Verb.FIT, Verb.GENERATE}),
    model="miaobi_parrot:Parrot",
    schemas=_schemas,
)
