"""Keys begin with the object: a key that begins with node and kind is the same for thousands of rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from linkspan.store.database.tables import WORDS

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version. SQLite cannot change a key; the rows are carried over, the same way on both."""
    op.execute("CREATE TABLE carried AS SELECT * FROM change")
    op.drop_table("change")
    op.create_table(
        "change",
        sa.Column("object_id", WORDS, nullable=False),
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("node_id", WORDS, nullable=False),
        sa.Column("gateway_id", WORDS, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.CheckConstraint("kind IN ('gateway', 'connection')", name=op.f("ck_change_kind")),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_change_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("object_id", "kind", "node_id", name=op.f("pk_change")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_change_node_id", "change", ["node_id", "revision"], unique=False)
    _take_back("change", "object_id, kind, node_id, gateway_id, revision, deleted, at")
    op.execute("CREATE TABLE carried AS SELECT * FROM observed")
    op.drop_table("observed")
    op.create_table(
        "observed",
        sa.Column("object_id", WORDS, nullable=False),
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("node_id", WORDS, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("applied_at", sa.Double(), nullable=False),
        sa.Column("ready_at", sa.Double(), nullable=True),
        sa.Column("effective_mtu", sa.Integer(), nullable=True),
        sa.CheckConstraint("kind IN ('gateway', 'connection')", name=op.f("ck_observed_kind")),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_observed_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("object_id", "kind", name=op.f("pk_observed")),
        sqlite_with_rowid=False,
    )
    _take_back(
        "observed",
        "object_id, kind, node_id, generation, revision, state, reason, applied_at, ready_at, effective_mtu",
    )


def _take_back(table: str, columns: str) -> None:
    op.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM carried")  # noqa: S608 # names of ours
    op.drop_table("carried")
