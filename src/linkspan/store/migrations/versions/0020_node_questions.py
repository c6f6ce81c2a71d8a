"""Questions of the API to nodes, and their answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from linkspan.store.database.tables import WORDS

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version."""
    op.create_table(
        "node_question",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("node_id", WORDS, nullable=False),
        sa.Column("gateway_id", WORDS, nullable=False),
        sa.Column("connection_id", WORDS, nullable=False),
        sa.Column("asked_at", sa.Double(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_node_question_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_node_question")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_node_question_asked_at"), "node_question", ["asked_at"], unique=False)
