"""`Library`: contents in, found again, judged.

Whatever is written is written whole: files first, under the hash of their bytes, then all rows in one transaction. Keeping the same
content twice keeps it once. Ids are short and say nothing: the first letters are enough where they are the only ones of their kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from miaobi.core.errors import UsageError
from miaobi.core.home import home
from miaobi.core.types import Content, Label, Media, Modality, Part, canonical_json
from miaobi.engine.generate import restored
from miaobi.library import words
from miaobi.library.database import Database
from miaobi.library.files import Files
from miaobi.library.tables import (
    ChoiceRow,
    CommentRow,
    ContentRow,
    EditRow,
    JobRow,
    ParentRow,
    PartRow,
    RatingRow,
    ResponseFileRow,
    ResponseRow,
    TagRow,
    UploadRow,
)
from miaobi.trust import label as labels

LOWEST, HIGHEST = 1, 5
OLDEST_DAYS = 36_500
LONGEST_TAG, LONGEST_NAME, LONGEST_TEXT = 100, 100, 1_000_000
SHORTEST_ID = 4
FILE = "library.db"
ATTEMPTS = 5  # a content that many keep at once: every failure means that somebody else succeeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One judgement: a rating, a comment, or an edited text, by whom and when."""

    value: int | str
    by: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file of a content, by the hash of its bytes."""

    sha256: str
    modality: Modality
    mime: str
    name: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A content as the library holds it. Media are read by `Library.part`."""

    id: str
    label: Label
    modality: Modality
    parts: tuple[str | Stored, ...]
    origin: str
    kept: str
    tags: tuple[str, ...] = ()
    ratings: tuple[Said, ...] = ()
    edits: tuple[Said, ...] = ()
    comments: tuple[Said, ...] = ()
    made_from: tuple[Mapping[str, str], ...] = ()
    """What it was made from, by `role` and `sha256`, whether that is here or not."""
    parents: tuple[str, ...] = ()
    """Ids of those that are here."""
    children: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The parts that are text."""
        return tuple(part for part in self.parts if isinstance(part, str))

    @property
    def media(self) -> tuple[Stored, ...]:
        """The parts that are files."""
        return tuple(part for part in self.parts if isinstance(part, Stored))

    @property
    def text(self) -> str:
        """All text, joined by line breaks."""
        return "\n".join(self.texts)

    @property
    def rating(self) -> float | None:
        """The mean over people of what each said last."""
        last = {said.by: float(said.value) for said in self.ratings}
        return sum(last.values()) / len(last) if last else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which contents are wanted; what is empty does not narrow. `text` holds words and phrases that all have to be there."""

    text: str = ""
    modality: str = ""
    model: str = ""
    tag: str = ""
    at_least: float = 0.0
    since: str = ""
    until: str = ""


EVERYTHING = Query()


class Library:
    """A database and a folder of files."""

    def __init__(self, database: Database, files: Files) -> None:
        self.database, self.files = database, files

    @classmethod
    def open(cls, where: str | Path = "") -> Self:
        """The library in a folder, or at a database's URL; by default `library/` in the home folder.

        The files of a library in PostgreSQL lie in the home folder: several machines need one that they share.

        Raises:
            UsageError, MissingExtra, MiaobiError, ArtifactError: see `Database`.
        """
        if isinstance(where, str) and "://" in where:
            database = Database(where)
            path = database.url.database if database.dialect == "sqlite" else ""
            return cls(database, Files((Path(path).parent if path else home() / "library") / "files"))
        folder = Path(where) if where else home() / "library"
        address = sa.URL.create("sqlite", database=str(folder / FILE))  # as text, a ? or % in the name would mean something else
        return cls(Database(address), Files(folder / "files"))

    def close(self) -> None:
        """Let the database go."""
        self.database.close()

    # ------------------------------------------------------------------ in

    def keep(self, content: Content, *, origin: str = "", parents: Sequence[str] = (), tags: Sequence[str] = ()) -> str:
        """Keep a content, its label and its files; returns its id, the old one when it is here already.

        Args:
            origin: the door it came through: `cli`, `api`, `serve`, `studio`, `create`.
            parents: ids of contents that it was made from, beside the files that its label names.
        """
        for tag in tags:
            _check(tag, LONGEST_TAG, "a tag")
        for attempt in range(ATTEMPTS):
            try:
                return self._keep(content, origin, parents, tags)
            except IntegrityError:  # another thread or machine kept the same thing meanwhile: now it is there to be found
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _keep(self, content: Content, origin: str, parents: Sequence[str], tags: Sequence[str]) -> str:
        values = labels.to_dict(content.label)
        id = id_of(content.label)
        parts = [self._part(position, part) for position, part in enumerate(content.parts)]
        with self.database.writing() as session:
            found = session.scalar(sa.select(ContentRow).where(ContentRow.id == id))
            row = found or _new_row(session, id, content, values, parts, origin)
            known = {(parent.role, parent.sha256) for parent in row.parents}
            given = [tuple(name.rpartition(":")[::2]) for name in content.label.parents]
            given += [("", self._row(session, parent).content_sha256) for parent in parents]
            for role, sha256 in given:
                if (role, sha256) not in known:
                    row.parents.append(ParentRow(position=len(row.parents), role=role, sha256=sha256))
            _tag(row, tags)
        return id

    def _part(self, position: int, part: Part) -> PartRow:
        """A row of a part whose file is kept."""
        if isinstance(part, str):
            data = part.encode()
            sha256, text, modality, mime, name = hashlib.sha256(data).hexdigest(), part, Modality.TEXT, "text/plain", ""
            return PartRow(position=position, text=text, modality=modality, mime=mime, name=name, sha256=sha256, bytes=len(data))
        sha256 = self.files.put(part.data)
        return PartRow(
            position=position, text=None, modality=part.modality, mime=part.mime, name=part.name, sha256=sha256, bytes=len(part.data)
        )

    # ------------------------------------------------------------------ out

    def get(self, id: str) -> Kept:
        """The content of that id, or of the only one that begins so.

        Raises:
            UsageError: there is none, or several.
        """
        with self.database.reading() as session:
            return self._kept(session, self._row(session, id))

    def part(self, stored: Stored) -> Media:
        """The bytes of a file, checked against their hash.

        Raises:
            DataError: the file is lost or damaged.
        """
        return Media(modality=stored.modality, mime=stored.mime, name=stored.name, data=self.files.get(stored.sha256))

    def content(self, id: str) -> Content:
        """The content as it was kept, to be written to a file or given to a model.

        Raises:
            UsageError: there is none of that id.
            DataError: a file is lost or damaged.
        """
        kept = self.get(id)
        return restored(tuple(part if isinstance(part, str) else self.part(part) for part in kept.parts), kept.label)

    def find(self, query: Query = EVERYTHING, *, limit: int = 20, offset: int = 0) -> list[Kept]:
        """Contents that fit, the newest first."""
        with self.database.reading() as session:
            rows = session.scalars(self.select(query).order_by(ContentRow.number.desc()).limit(limit).offset(offset))
            return [self._kept(session, row) for row in rows]

    def count(self, query: Query = EVERYTHING) -> int:
        """How many contents fit."""
        with self.database.reading() as session:
            return int(session.scalar(sa.select(sa.func.count()).select_from(self.select(query).subquery())) or 0)

    def each(self, query: Query = EVERYTHING, *, page: int = 200) -> Iterator[Kept]:
        """All contents that fit, the oldest first, a page at a time: what is kept meanwhile may or may not be among them."""
        after = 0
        while True:
            with self.database.reading() as session:
                rows = list(session.scalars(self.select(query).where(ContentRow.number > after).order_by(ContentRow.number).limit(page)))
                found = [self._kept(session, row) for row in rows]
                after = rows[-1].number if rows else after
            yield from found
            if len(found) < page:
                return

    def select(self, query: Query) -> sa.Select[ContentRow]:
        """The contents that a query wants."""
        wanted = sa.select(ContentRow)
        for column, value in ((ContentRow.modality, query.modality), (ContentRow.model, query.model)):
            if value:
                wanted = wanted.where(column == value)
        if query.tag:
            wanted = wanted.where(ContentRow.tags.any(TagRow.name == query.tag))
        if query.since:
            wanted = wanted.where(ContentRow.kept >= query.since)
        if query.until:
            wanted = wanted.where(ContentRow.kept < query.until)
        if query.at_least > 0:
            wanted = wanted.where(_mean_rating() >= query.at_least)
        phrases = words.phrases(query.text)
        if query.text.strip() and not phrases:
            raise UsageError("'{text}' holds nothing that can be searched for; write words or characters", text=query.text)
        return wanted.where(ContentRow.number.in_(words.matching(self.database.dialect, phrases))) if phrases else wanted

    def _row(self, session: Session, id: str) -> ContentRow:
        found: list[ContentRow] = []
        if len(id) >= SHORTEST_ID and id.isalnum():
            found = list(session.scalars(sa.select(ContentRow).where(ContentRow.id.startswith(id.lower())).limit(9)))
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError("several contents begin with '{id}': {ids}", id=id, ids=", ".join(row.id for row in found))
        raise UsageError("the library has no content '{id}'. `miaobi library list` shows what there is", id=id)

    def _kept(self, session: Session, row: ContentRow) -> Kept:
        return Kept(
            id=row.id,
            label=labels.from_dict(row.label),
            modality=Modality(row.modality),
            parts=tuple(_stored(part) if part.text is None else part.text for part in row.parts),
            origin=row.origin,
            kept=row.kept,
            tags=tuple(tag.name for tag in row.tags),
            ratings=tuple(Said(value=said.value, by=said.by, at=said.at) for said in row.ratings),
            edits=tuple(Said(value=said.after, by=said.by, at=said.at) for said in row.edits),
            comments=tuple(Said(value=said.text, by=said.by, at=said.at) for said in row.comments),
            made_from=tuple({"role": parent.role, "sha256": parent.sha256} for parent in row.parents),
            parents=_parents(session, row),
            children=_children(session, row),
        )

    # ------------------------------------------------------------------ judged

    def rate(self, id: str, value: int, *, by: str = "") -> None:
        """Say how good it is, from 1 to 5; what the same person said before no longer counts.

        Raises:
            UsageError: no whole number from 1 to 5.
        """
        if isinstance(value, bool) or not isinstance(value, int) or not LOWEST <= value <= HIGHEST:
            raise UsageError("a rating is a whole number from {low} to {high}, not {value}", low=LOWEST, high=HIGHEST, value=value)
        _check(by, LONGEST_NAME, "a name", empty=True)
        with self.database.writing() as session:
            row = self._row(session, id)  # held: a row that nothing holds is forgotten with what it was given
            row.ratings.append(RatingRow(value=value, by=by, at=now()))

    def choose(self, chosen: str, rejected: str, *, by: str = "") -> None:
        """Say which of two answers to one question is better.

        Raises:
            UsageError: they are one content, or answers to different prompts.
        """
        _check(by, LONGEST_NAME, "a name", empty=True)
        with self.database.writing() as session:
            better, worse = self._row(session, chosen), self._row(session, rejected)
            if better.number == worse.number:
                raise UsageError("a content cannot be chosen over itself ({id})", id=better.id)
            if (better.prompt, better.modality) != (worse.prompt, worse.modality):
                raise UsageError("{chosen} and {rejected} answer different prompts, so one is not the better answer",
                                 chosen=better.id, rejected=worse.id)  # fmt: skip
            session.add(ChoiceRow(chosen=better.number, rejected=worse.number, by=by, at=now()))

    def edit(self, id: str, after: str, *, by: str = "") -> None:
        """Keep what a person made of a text; the content itself stays as it was.

        Raises:
            UsageError: the content has no text, or the text is the same.
        """
        _check(after, LONGEST_TEXT, "an edited text")
        _check(by, LONGEST_NAME, "a name", empty=True)
        with self.database.writing() as session:
            row = self._row(session, id)
            before = "\n".join(part.text for part in row.parts if part.text is not None)
            if not before:
                raise UsageError("{id} has no text that could be edited", id=row.id)
            if after == (row.edits[-1].after if row.edits else before):
                raise UsageError("the text of {id} is the same as before", id=row.id)
            row.edits.append(EditRow(after=after, by=by, at=now()))
            words.index(session, row.number, searched(row))

    def comment(self, id: str, text: str, *, by: str = "") -> None:
        """Say something about a content."""
        _check(text, LONGEST_TEXT, "a comment")
        _check(by, LONGEST_NAME, "a name", empty=True)
        with self.database.writing() as session:
            row = self._row(session, id)
            row.comments.append(CommentRow(text=text, by=by, at=now()))
            words.index(session, row.number, searched(row))

    def tag(self, id: str, add: Sequence[str] = (), *, remove: Sequence[str] = ()) -> None:
        """Give and take words."""
        for tag in add:
            _check(tag, LONGEST_TAG, "a tag")
        with self.database.writing() as session:
            row = self._row(session, id)
            row.tags = [tag for tag in row.tags if tag.name not in remove]
            _tag(row, add)

    # ------------------------------------------------------------------ gone

    def remove(self, id: str) -> str:
        """Forget a content and all that was said of it; returns its id. Its files go with the next `prune`."""
        with self.database.writing() as session:
            row = self._row(session, id)
            session.delete(row)
            return row.id

    def prune(self, days: float, *, also_judged: bool = False) -> tuple[int, int, int]:
        """Forget contents and stored responses older than so many days, and files that nothing needs.

        Returns counts of contents and files, and bytes.

        What has a tag, a rating, an edit, a comment or was part of a choice stays, unless `also_judged`.
        """
        if not 0 <= days <= OLDEST_DAYS:
            raise UsageError("an age in days is from 0 to {most:,}, not {days}", most=OLDEST_DAYS, days=days)
        before = (datetime.now(UTC) - timedelta(days=days)).strftime(TIME)
        old = sa.select(ContentRow.number).where(ContentRow.kept < before)
        if not also_judged:
            judged = [table.content for table in (TagRow, RatingRow, EditRow, CommentRow)] + [ChoiceRow.chosen, ChoiceRow.rejected]
            for column in judged:
                old = old.where(ContentRow.number.not_in(sa.select(column)))
        with self.database.writing() as session:
            numbers = list(session.scalars(old))
            for number in numbers:
                session.execute(sa.delete(ContentRow).where(ContentRow.number == number))
            session.execute(sa.delete(ResponseRow).where(ResponseRow.created < before))
        with self.database.reading() as session:
            needed = set(session.scalars(sa.select(PartRow.sha256).where(PartRow.text.is_(None)).distinct()))
            needed |= set(session.scalars(sa.select(UploadRow.sha256).where(sa.or_(UploadRow.expires == "", UploadRow.expires > now()))))
            needed |= set(session.scalars(sa.select(ResponseFileRow.sha256).distinct()))
            needed |= _of_jobs(session)
        return len(numbers), *self.files.sweep(needed)


TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


def now() -> str:
    """The time as text that sorts: ISO 8601 in UTC, with microseconds."""
    return datetime.now(UTC).strftime(TIME)


def _check(text: str, longest: int, what: str, *, empty: bool = False) -> None:
    if not text.strip() and not empty:
        raise UsageError("{what} cannot be empty", what=what)
    if len(text) > longest or "\0" in text:
        raise UsageError("{what} has at most {longest} characters, none of them NUL", what=what, longest=longest)


def _stored(part: PartRow) -> Stored:
    return Stored(sha256=part.sha256, modality=Modality(part.modality), mime=part.mime, name=part.name, bytes=part.bytes)


def _new_row(session: Session, id: str, content: Content, values: dict[str, Any], parts: list[PartRow], origin: str) -> ContentRow:
    """A new row, and its terms."""
    label = content.label
    media = [part for part in content.parts if isinstance(part, Media)]
    row = ContentRow(
        id=id,
        modality=media[0].modality if media else Modality.TEXT,
        family=label.family,
        model=label.model,
        prompt=label.prompt,
        content_sha256=label.content_sha256,
        label=values,
        origin=origin,
        kept=now(),
        parts=parts,
    )
    session.add(row)
    session.flush()
    words.index(session, row.number, searched(row))
    return row


def searched(row: ContentRow) -> str:
    """What a content is found by: what was asked, its texts, what a person made of them, and what was said of it."""
    texts = [part.text for part in row.parts if part.text is not None]
    return "\n".join([row.prompt, *texts, *(edit.after for edit in row.edits[-1:]), *(comment.text for comment in row.comments)])


def id_of(label: Label) -> str:
    """The id of the content with that label."""
    return hashlib.sha256(canonical_json(labels.to_dict(label))).hexdigest()[:16]


def _mean_rating() -> sa.ScalarSelect[Any]:
    """The mean over people of what each said last."""
    last = sa.select(sa.func.max(RatingRow.number)).where(RatingRow.content == ContentRow.number).group_by(RatingRow.by)
    return (
        sa.select(sa.func.avg(RatingRow.value))
        .where(RatingRow.number.in_(last.correlate(ContentRow)))
        .correlate(ContentRow)
        .scalar_subquery()
    )


def _tag(row: ContentRow, names: Sequence[str]) -> None:
    known = {tag.name for tag in row.tags}
    for name in dict.fromkeys(name.strip() for name in names):
        if name not in known:
            row.tags.append(TagRow(name=name))


def _of_jobs(session: Session) -> set[str]:
    """The files that jobs were given: a film's picture, a batch's requests. They stay until the job is forgotten: it may be tried again."""
    found: set[str] = set()
    for spec in session.scalars(sa.select(JobRow.spec)):
        given = spec.get("given")
        found.update(map(str, given.values() if isinstance(given, Mapping) else ()), {str(spec.get("sha256", ""))})
    return found


def _parents(session: Session, row: ContentRow) -> tuple[str, ...]:
    """Ids of the contents here that this one was made from: by a file, or by the hash of the whole."""
    hashes = [parent.sha256 for parent in row.parents]
    if not hashes:
        return ()
    holders = sa.select(PartRow.content).where(PartRow.sha256.in_(hashes))
    found = sa.select(ContentRow.id).where(sa.or_(ContentRow.number.in_(holders), ContentRow.content_sha256.in_(hashes)))
    return tuple(session.scalars(found.where(ContentRow.number != row.number).order_by(ContentRow.number)))


def _children(session: Session, row: ContentRow) -> tuple[str, ...]:
    """Ids of the contents here that were made from this one."""
    hashes = [row.content_sha256, *(part.sha256 for part in row.parts)]
    made = sa.select(ParentRow.content).where(ParentRow.sha256.in_(hashes))
    found = sa.select(ContentRow.id).where(ContentRow.number.in_(made), ContentRow.number != row.number)
    return tuple(session.scalars(found.order_by(ContentRow.number)))
