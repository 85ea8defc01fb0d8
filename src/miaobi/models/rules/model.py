"""The rules family: a folder with `grammar.yaml` (or `.json`) is a model; there is nothing to learn and nothing random but the draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from miaobi.core.artifact import write_bytes
from miaobi.core.errors import ArtifactError, unknown
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Done, Piece, Request, Usage
from miaobi.models.rules.expand import Writer
from miaobi.models.rules.family import FAMILY
from miaobi.models.rules.grammar import Grammar
from miaobi.models.rules.prompt import understand
from miaobi.models.rules.reader import loads, read
from miaobi.models.rules.schema import Options

FILES = ("grammar.yaml", "grammar.json")


class Rules:
    """A grammar that writes. `source` is its file as it was written, comments and all."""

    def __init__(self, grammar: Grammar, source: bytes, *, file: str = FILES[0], name: str = "rules") -> None:
        self.grammar, self.source, self.file = grammar, source, file
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def of(cls, text: str, *, name: str = "rules") -> Self:
        """A grammar from text.

        Raises:
            DataError: something in it is wrong; the message names the line and the field.
        """
        return cls(loads(text), text.encode(), name=name)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """One text; the prompt's words decide what it is about.

        Raises:
            UsageError: an unknown form or slot, or demands that no text meets.
        """
        options = validate(Options, {key: value for key, value in request.options.items() if key != "n"}, "options of rules")
        prompt, grammar = understand(self.grammar, request.prompt)
        wanted: dict[str, Any] = {"form": options.form, "slots": options.slots, "depth": options.depth}
        writer = Writer(grammar, prompt)
        tries = options.candidates if prompt.words else 1
        texts = [writer.text(**wanted, seed=f"{request.seed}/{attempt}") for attempt in range(tries)]
        text = max(texts, key=prompt.taken_up)  # the first of the best
        yield Piece(part=text)
        yield Done(usage=Usage(prompt=len(prompt.words), generated=len(text.split())), notes={"topics": sorted(prompt.topics)})

    def save(self, folder: Path, /) -> None:
        """The grammar's file, byte for byte."""
        write_bytes(folder / self.file, self.source)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The grammar in `folder`.

        Raises:
            ArtifactError: there is none.
            DataError: something in it is wrong.
        """
        for name in FILES:
            if (folder / name).is_file():
                return cls(read(folder / name), (folder / name).read_bytes(), file=name, name=folder.resolve().name)
        raise ArtifactError("{folder} holds no grammar: {file} is missing", folder=folder, file=FILES[0])


def check(folder: Path, options: Mapping[str, Any], /) -> None:
    """Tell an unknown form; see `core.families.Check`."""
    if options.get("form"):
        forms = Rules.load(folder).grammar.forms
        if options["form"] not in forms:
            raise unknown("form", options["form"], forms)
