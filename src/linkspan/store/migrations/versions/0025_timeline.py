"""The timeline: events of connections."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from linkspan.store.database.tables import WORDS

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version. The timeline begins with it."""
    op.create_table(
        "timeline_event",
        sa.Column("connection_id", WORDS, nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("place", sa.BigInteger(), nullable=True),
        *(sa.Column(name, WORDS, nullable=False) for name in ("project_id", "connection_name", "kind")),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("recorded_at", sa.Double(), nullable=False),
        sa.Column("code", WORDS, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("node", WORDS, nullable=False),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("connection_id", "key", name=op.f("pk_timeline_event")),
        sqlite_with_rowid=False,
    )
    op.create_index("uq_timeline_event_number", "timeline_event", ["number"], unique=True)
    op.create_index("ix_timeline_event_place", "timeline_event", ["connection_id", "place"], unique=False)
    op.create_index("ix_timeline_event_project_id", "timeline_event", ["project_id", "number"], unique=False)
    unplaced = sa.text("number IS NULL")
    op.create_index(
        "ix_timeline_event_unplaced",
        "timeline_event",
        ["recorded_at"],
        sqlite_where=unplaced,
        postgresql_where=unplaced,
    )
    op.create_table(
        "timeline_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timeline_head")),
    )
