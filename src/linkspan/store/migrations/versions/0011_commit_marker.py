"""Markers of transactions, by which the outcome of a COMMIT shows whose connection was lost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """To this version."""
    op.create_table(
        "commit_marker",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("committed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commit_marker")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_commit_marker_at", "commit_marker", ["at"])
