"""Answers of the server that are asked for again, with what was given in their conversations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "responses",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("owner", sa.String(100), nullable=False, index=True),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.Column("beat", sa.Float(53), nullable=False),
        sa.Column("response", sa.JSON, nullable=False),
        sa.Column("asked", sa.JSON, nullable=False),
        sa.Column("turns", sa.JSON, nullable=False),
        sa.Column("created", sa.String(32), nullable=False, index=True),
    )
    op.create_table(
        "response_files",
        sa.Column("response", NUMBER, sa.ForeignKey("responses.number", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, index=True),
    )


def downgrade() -> None:
    """Back."""
    op.drop_table("response_files")
    op.drop_table("responses")
