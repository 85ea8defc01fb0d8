"""What an app puts together out of many parts leaves through the same door as what a model makes, and is labelled there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from pydantic import Field

from miaobi.apps.common.script import Script
from miaobi.core.schema import Schema
from miaobi.core.types import Card, Chunk, Content, Done, Media, Modality, Options, Piece, Request, Verb
from miaobi.engine import generate
from miaobi.trust import label as labels


class Ingredients(Schema):
    """What a work was made from; the timeline itself is the request's prompt."""

    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of every file and of everything that a model made, by name."""


class Assembly:
    """A finished medium in the place of a model, so that it is checked and labelled like one's output."""

    def __init__(self, app: str, media: Media, notes: Options) -> None:
        self.media, self.notes = media, notes
        self.card = Card(family=app, name=app, outputs=frozenset({media.modality}), verbs=frozenset({Verb.GENERATE}))

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The one medium."""
        yield Piece(part=self.media)
        yield Done(notes=self.notes)

    def save(self, folder: Path, /) -> None:
        """The medium as a file."""
        (folder / "media").write_bytes(self.media.data)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """What was assembled is not loaded again; it is assembled again."""
        raise NotImplementedError


def labelled(app: str, media: Media, *, prompt: str, files: Mapping[str, str], notes: Options, created: str = "", seed: int = 0) -> Content:
    """The medium as a content with its label in its bytes.

    Raises:
        Refused: the words that it was made from are blocked.
    """
    request = Request.of(prompt, seed=seed, files=dict(files))
    return generate.collect(Assembly(app, media, notes), request, schema=Ingredients, created=created)[0]


def label_of_film(script: Script, files: Mapping[str, str], data: bytes, mime: str, out: Path, *, created: str = "") -> Content:
    """Label the film, write it to `out` and read it back."""
    media = Media(modality=Modality.VIDEO, mime=mime, data=data, name=out.name)
    content = labelled("film", media, prompt=script.text, files=files, notes={}, created=created)
    labels.write(content, out)
    return content
