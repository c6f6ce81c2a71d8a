"""The audit trail, and the ends of its chain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from linkspan.store.database.tables import WORDS

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version. The trail begins with it."""
    op.create_table(
        "audit",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        *(
            sa.Column(name, WORDS, nullable=False)
            for name in (
                "action",
                "resource",
                "object_id",
                "project_id",
                "user_id",
                "user_name",
                "user_project_id",
                "request_id",
                "source",
                "fields",
            )
        ),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("hash", WORDS, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_audit_project_id", "audit", ["project_id", "id"], unique=False)
    op.create_index("uq_audit_number", "audit", ["number"], unique=True)
    unsealed = sa.text("number IS NULL")
    op.create_index("ix_audit_unsealed", "audit", ["id"], sqlite_where=unsealed, postgresql_where=unsealed)
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("base", sa.BigInteger(), nullable=False),
        sa.Column("base_hash", WORDS, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", WORDS, nullable=False),
        sa.Column("key_id", WORDS, nullable=False),
        sa.Column("seal", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
