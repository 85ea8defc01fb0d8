"""How the library page finds: by words, by meaning, by what is seen in pictures, and by a picture that others are to look like."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from miaobi.core.language import tr
from miaobi.library.meaning import search
from miaobi.library.store import EVERYTHING, Kept, Query
from miaobi.serve.seeing import space_of
from miaobi.studio.given import picture_of

if TYPE_CHECKING:
    from miaobi.studio.room import Room

How = Literal["words", "meaning", "seen"]
HOW = {"words": "by words", "meaning": "by meaning", "seen": "by what is seen"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked for. With a picture the nearest to it come first; words then only narrow."""

    text: str = ""
    how: How = "words"
    picture: str = ""
    """As a canvas tells it: `content/ID/PART`, or a data URL."""
    query: Query = EVERYTHING


def found(room: Room, wanted: Wanted, limit: int, loop: asyncio.AbstractEventLoop) -> tuple[list[Kept], int | None]:
    """What fits, the best first, and how many fit in all: None where everything fits more or less.

    Raises:
        UsageError: there is nothing that could see, or what was given is no picture.
        MissingExtra: there is nothing that could compare meanings.
    """
    if wanted.picture or (wanted.how == "seen" and wanted.text.strip()):
        return _seen(room, wanted, limit, loop), None
    if wanted.how == "meaning" and wanted.text.strip():
        with room.alone:
            nearest = search(room.library, room.meaning, wanted.text, query=wanted.query, limit=limit)
        return [each.kept for each in nearest], None
    query = _narrowed(wanted)
    return room.library.find(query, limit=limit), room.library.count(query)


def _narrowed(wanted: Wanted) -> Query:
    """The query with the words in it, where they are to stand in the contents."""
    return dataclasses.replace(wanted.query, text=wanted.text) if wanted.how == "words" else wanted.query


def _seen(room: Room, wanted: Wanted, limit: int, loop: asyncio.AbstractEventLoop) -> list[Kept]:
    """The pictures that look most like a picture, or like what words say."""
    from miaobi.data.pictures import decode

    space = space_of(room.state.pool, loop)
    question = space.seen(decode(picture_of(room, wanted.picture))) if wanted.picture else wanted.text
    query = _narrowed(wanted) if wanted.picture else wanted.query
    return [each.kept for each in search(room.library, space, question, query=query, limit=limit)]


def summary(count: int, total: int | None) -> str:
    """How many there are, in words."""
    return tr("the {count} nearest", count=count) if total is None else tr("{count} contents", count=total)
