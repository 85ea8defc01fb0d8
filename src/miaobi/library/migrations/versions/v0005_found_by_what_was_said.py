"""Contents are found by the versions and comments that people gave them, too: those that have some are indexed again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.orm import Session

from miaobi.library import words

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Forward."""
    said = sa.text("SELECT content FROM edits UNION SELECT content FROM comments")
    with Session(op.get_bind()) as session:
        for number in list(session.scalars(said)):
            words.index(session, number, _searched(session, number))
        session.flush()


def downgrade() -> None:
    """Back: whoever is found by more words is found by the old ones."""


def _searched(session: Session, number: int) -> str:
    """As the library of this version puts it together."""
    queries = (
        "SELECT prompt FROM contents WHERE number = :number",
        "SELECT text FROM parts WHERE content = :number AND text IS NOT NULL ORDER BY position",
        "SELECT after FROM edits WHERE content = :number ORDER BY number DESC LIMIT 1",
        "SELECT text FROM comments WHERE content = :number ORDER BY number",
    )
    return "\n".join(text for query in queries for text in session.scalars(sa.text(query), {"number": number}))
