"""The pre-shared keys that connections had before, while their peers may still have them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from linkspan.store.database.tables import WORDS

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version."""
    op.create_table(
        "previous_key",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("project_id", WORDS, nullable=False),
        sa.Column("previous_psk", sa.LargeBinary(), nullable=True),
        sa.Column("previous_psk_key_id", WORDS, nullable=True),
        sa.Column("previous_psk_ref", WORDS, nullable=True),
        sa.Column("ends_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["connection.id"], name=op.f("fk_previous_key_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["previous_psk_key_id"], ["encryption_key.id"], name=op.f("fk_previous_key_previous_psk_key_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_previous_key")),
    )
    op.create_index(op.f("ix_previous_key_ends_at"), "previous_key", ["ends_at"], unique=False)
