"""The first tables: contents with their parts, parents and tags, what people thought of them, vectors, and terms to search by.

Terms are each database's own: an FTS5 table in SQLite, a tsvector with a GIN index in PostgreSQL; both are fed with what
`library.words.split` gives.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TABLES = ("vectors", "comments", "edits", "choices", "ratings", "tags", "parents", "parts", "contents")


def upgrade() -> None:
    """From nothing."""
    _contents()
    _described()
    _judged()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TABLE terms (content bigint PRIMARY KEY REFERENCES contents (number) ON DELETE CASCADE, vector tsvector NOT NULL)"
        )
        op.execute("CREATE INDEX ix_terms_vector ON terms USING gin (vector)")
    else:
        op.execute("CREATE VIRTUAL TABLE terms USING fts5 (words, tokenize = 'unicode61 remove_diacritics 0')")
        op.execute("CREATE TRIGGER forget_terms AFTER DELETE ON contents BEGIN DELETE FROM terms WHERE rowid = old.number; END")


def downgrade() -> None:
    """Back to nothing."""
    op.drop_table("terms")
    for name in TABLES:
        op.drop_table(name)


def _contents() -> None:
    op.create_table(
        "contents",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", sa.String(16), nullable=False, unique=True),
        sa.Column("modality", sa.String(16), nullable=False, index=True),
        sa.Column("family", sa.String(64), nullable=False),
        sa.Column("model", sa.String(200), nullable=False, index=True),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("content_sha256", sa.String(64), nullable=False, index=True),
        sa.Column("label", sa.JSON, nullable=False),
        sa.Column("origin", sa.String(32), nullable=False),
        sa.Column("kept", sa.String(32), nullable=False, index=True),
    )


def _described() -> None:
    """What a content consists of, comes from, is called, and where it lies among the others."""
    op.create_table(
        "parts",
        _content(primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("text", sa.Text),
        sa.Column("modality", sa.String(16), nullable=False),
        sa.Column("mime", sa.String(100), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, index=True),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "parents",
        _content(primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("role", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, index=True),
    )
    op.create_table("tags", _content(primary_key=True), sa.Column("name", sa.String(100), primary_key=True, index=True))
    op.create_table(
        "vectors",
        _content(primary_key=True),
        sa.Column("space", sa.String(200), primary_key=True),
        sa.Column("values", sa.LargeBinary, nullable=False),
    )


def _judged() -> None:
    """What people thought of it."""
    judgements: dict[str, list[sa.Column[Any]]] = {
        "ratings": [_content(index=True), sa.Column("value", sa.Integer, nullable=False)],
        "choices": [_content("chosen", index=True), _content("rejected", index=True)],
        "edits": [_content(index=True), sa.Column("after", sa.Text, nullable=False)],
        "comments": [_content(index=True), sa.Column("text", sa.Text, nullable=False)],
    }
    for name, columns in judgements.items():
        op.create_table(
            name,
            sa.Column("number", NUMBER, primary_key=True),
            *columns,
            sa.Column("by", sa.String(100), nullable=False),
            sa.Column("at", sa.String(32), nullable=False),
        )


def _content(name: str = "content", *, primary_key: bool = False, index: bool = False) -> sa.Column[int]:
    """A content by its number; what is said of it goes with it."""
    contents = sa.ForeignKey("contents.number", ondelete="CASCADE")
    return sa.Column(name, NUMBER, contents, primary_key=primary_key, nullable=False, index=index)
