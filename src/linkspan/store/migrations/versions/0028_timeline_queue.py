"""Events wait for their place in a queue, one row for all connections of an event, and are written once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from linkspan.store.database.tables import WORDS

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

QUEUED = "key, recorded_at, kind, at, code, reason, node, revision"
PLACED = f"number, connection_id, place, project_id, connection_name, {QUEUED}"


def upgrade() -> None:
    """To this version. Events keep their numbers and places."""
    op.create_table("timeline_queue", *_queue_columns(), sqlite_with_rowid=False)
    named = "json_group_array(json_array(connection_id, project_id, connection_name))"
    if op.get_bind().dialect.name == "postgresql":
        named = "json_agg(json_build_array(connection_id, project_id, connection_name))::text"
    op.execute(
        f"INSERT INTO timeline_queue SELECT {QUEUED}, count(*), {named} "  # noqa: S608 # names of ours
        f"FROM timeline_event WHERE number IS NULL GROUP BY {QUEUED}"
    )
    op.execute(f"CREATE TABLE placed AS SELECT {PLACED} FROM timeline_event WHERE number IS NOT NULL")  # noqa: S608
    op.drop_table("timeline_event")
    op.create_table("timeline_event", *_event_columns(), sqlite_with_rowid=False)
    op.execute(f"INSERT INTO timeline_event ({PLACED}) SELECT {PLACED} FROM placed")  # noqa: S608 # names of ours
    op.drop_table("placed")
    op.create_index("uq_timeline_event_key", "timeline_event", ["key", "connection_id"], unique=True)
    op.create_index("ix_timeline_event_place", "timeline_event", ["connection_id", "place"])
    op.create_index("ix_timeline_event_project_id", "timeline_event", ["project_id", "number"])


def _queue_columns() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("key", WORDS, nullable=False),
        sa.Column("recorded_at", sa.Double(), nullable=False),
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("code", WORDS, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("node", WORDS, nullable=False),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("connections", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_timeline_queue")),
    ]


def _event_columns() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, WORDS, nullable=False) for name in ("connection_id", "key")),
        sa.Column("place", sa.BigInteger(), nullable=False),
        *(sa.Column(name, WORDS, nullable=False) for name in ("project_id", "connection_name", "kind")),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("recorded_at", sa.Double(), nullable=False),
        sa.Column("code", WORDS, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("node", WORDS, nullable=False),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_timeline_event")),
    ]
