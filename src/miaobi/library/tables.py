"""The tables of the library, for SQLite and PostgreSQL alike.

A content is a row; its texts lie in its parts, its media in files named by their hash (see `files`), so a picture that two contents share
is kept once. A parent is known by a hash, not by a row: the link is there as soon as both are, in whatever order they came.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Float, ForeignKey, Integer, LargeBinary, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
Number = BigInteger().with_variant(Integer, "sqlite")  # only an INTEGER key counts up by itself in SQLite


class Base(DeclarativeBase):
    """Names every constraint, so that a migration can change it."""

    metadata = MetaData(naming_convention=NAMING)


class ContentRow(Base):
    """One content: its label, and what is searched for."""

    __tablename__ = "contents"

    number: Mapped[int] = mapped_column(Number, primary_key=True)
    id: Mapped[str] = mapped_column(String(16), unique=True)
    modality: Mapped[str] = mapped_column(String(16), index=True)
    family: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(200), index=True)
    prompt: Mapped[str] = mapped_column(Text)
    content_sha256: Mapped[str] = mapped_column(String(64), index=True)
    label: Mapped[dict[str, Any]] = mapped_column(JSON)
    origin: Mapped[str] = mapped_column(String(32))
    kept: Mapped[str] = mapped_column(String(32), index=True)  # ISO 8601, UTC: sorts as text

    parts: Mapped[list[PartRow]] = relationship(order_by="PartRow.position", cascade="all, delete-orphan", passive_deletes=True)
    parents: Mapped[list[ParentRow]] = relationship(order_by="ParentRow.position", cascade="all, delete-orphan", passive_deletes=True)
    tags: Mapped[list[TagRow]] = relationship(order_by="TagRow.name", cascade="all, delete-orphan", passive_deletes=True)
    ratings: Mapped[list[RatingRow]] = relationship(order_by="RatingRow.number", cascade="all, delete-orphan", passive_deletes=True)
    edits: Mapped[list[EditRow]] = relationship(order_by="EditRow.number", cascade="all, delete-orphan", passive_deletes=True)
    comments: Mapped[list[CommentRow]] = relationship(order_by="CommentRow.number", cascade="all, delete-orphan", passive_deletes=True)


def _content(*, key: bool = False) -> Mapped[int]:
    """The content that a row belongs to and goes with; part of the row's key, or searched for by an index of its own."""
    return mapped_column(Number, ForeignKey("contents.number", ondelete="CASCADE"), primary_key=key, index=None if key else True)


class PartRow(Base):
    """A stretch of text, or a file."""

    __tablename__ = "parts"

    content: Mapped[int] = _content(key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    text: Mapped[str | None] = mapped_column(Text)
    modality: Mapped[str] = mapped_column(String(16))
    mime: Mapped[str] = mapped_column(String(100))
    name: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)


class ParentRow(Base):
    """What a content was made from: the hash of a file or of a content."""

    __tablename__ = "parents"

    content: Mapped[int] = _content(key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    role: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64), index=True)


class TagRow(Base):
    """A word that a person gave."""

    __tablename__ = "tags"

    content: Mapped[int] = _content(key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True, index=True)


class RatingRow(Base):
    """One to five, by one person; the newest of a person counts."""

    __tablename__ = "ratings"

    number: Mapped[int] = mapped_column(Number, primary_key=True)
    content: Mapped[int] = _content()
    value: Mapped[int] = mapped_column(Integer)
    by: Mapped[str] = mapped_column(String(100))
    at: Mapped[str] = mapped_column(String(32))


class ChoiceRow(Base):
    """Of two contents, one was better."""

    __tablename__ = "choices"

    number: Mapped[int] = mapped_column(Number, primary_key=True)
    chosen: Mapped[int] = _content()
    rejected: Mapped[int] = _content()
    by: Mapped[str] = mapped_column(String(100))
    at: Mapped[str] = mapped_column(String(32))


class EditRow(Base):
    """What a person made of a text."""

    __tablename__ = "edits"

    number: Mapped[int] = mapped_column(Number, primary_key=True)
    content: Mapped[int] = _content()
    after: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(100))
    at: Mapped[str] = mapped_column(String(32))


class CommentRow(Base):
    """What a person said of a content."""

    __tablename__ = "comments"

    number: Mapped[int] = mapped_column(Number, primary_key=True)
    content: Mapped[int] = _content()
    text: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(100))
    at: Mapped[str] = mapped_column(String(32))


class VectorRow(Base):
    """Where a content lies in the space of a model, for search by meaning; made when first searched for."""

    __tablename__ = "vectors"

    content: Mapped[int] = _content(key=True)
    space: Mapped[str] = mapped_column(String(200), primary_key=True)
    values: Mapped[bytes] = mapped_column(LargeBinary)  # float16, unit length


class JobRow(Base):
    """Work that is done in its turn; see `queue`."""

    __tablename__ = "jobs"

    number: Mapped[int] = mapped_column(Number, primary_key=True)
    id: Mapped[str] = mapped_column(String(12), unique=True)
    kind: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(200))
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16), index=True)
    priority: Mapped[int] = mapped_column(Integer)
    attempts: Mapped[int] = mapped_column(Integer)
    worker: Mapped[str] = mapped_column(String(200))
    beat: Mapped[float] = mapped_column(Float(53))  # seconds since 1970 by the database's clock
    wanted: Mapped[str] = mapped_column(String(16))  # of a running job: pause, cancel
    progress: Mapped[dict[str, Any]] = mapped_column(JSON)
    result: Mapped[dict[str, Any]] = mapped_column(JSON)
    error: Mapped[str] = mapped_column(Text)
    created: Mapped[str] = mapped_column(String(32))
    started: Mapped[str] = mapped_column(String(32))
    ended: Mapped[str] = mapped_column(String(32))


class JobItemRow(Base):
    """One finished piece of a job: its key says that it is done once."""

    __tablename__ = "job_items"

    job: Mapped[int] = mapped_column(Number, ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    result: Mapped[dict[str, Any]] = mapped_column(JSON)


class UploadRow(Base):
    """A file that somebody handed over; see `uploads`."""

    __tablename__ = "uploads"

    number: Mapped[int] = mapped_column(Number, primary_key=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    owner: Mapped[str] = mapped_column(String(100), index=True)
    name: Mapped[str] = mapped_column(String(300))
    purpose: Mapped[str] = mapped_column(String(32))
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    created: Mapped[str] = mapped_column(String(32))
    expires: Mapped[str] = mapped_column(String(32))  # empty: never


class ResponseRow(Base):
    """An answer of the server that is asked for again, with the conversation up to it; see `responses`."""

    __tablename__ = "responses"

    number: Mapped[int] = mapped_column(Number, primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    owner: Mapped[str] = mapped_column(String(100), index=True)
    open: Mapped[bool] = mapped_column(Boolean)  # somebody writes it
    beat: Mapped[float] = mapped_column(Float(53))  # of who writes it: seconds since 1970 by the database's clock
    response: Mapped[dict[str, Any]] = mapped_column(JSON)
    asked: Mapped[list[Any]] = mapped_column(JSON)
    turns: Mapped[list[Any]] = mapped_column(JSON)
    created: Mapped[str] = mapped_column(String(32), index=True)

    given: Mapped[list[ResponseFileRow]] = relationship(
        order_by="ResponseFileRow.position", cascade="all, delete-orphan", passive_deletes=True
    )


class ResponseFileRow(Base):
    """A picture or a sound that was given in a conversation."""

    __tablename__ = "response_files"

    response: Mapped[int] = mapped_column(Number, ForeignKey("responses.number", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64), index=True)
