"""Certificates of nodes, the authority that issues them, and the end of nodes' tokens."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

from linkspan.store.database.tables import WORDS

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_KEPT = 90 * 86_400.0
"""Seconds for which the tokens that are there go on."""


def upgrade() -> None:
    """To this version. Tokens of nodes get an end: until then their nodes have time to join with certificates."""
    op.add_column("node", sa.Column("token_expires_at", sa.Double(), nullable=True))
    node = sa.table("node", sa.column("token_expires_at"))
    op.get_bind().execute(node.update().values(token_expires_at=time.time() + _KEPT))
    op.create_table(
        "node_credential",
        sa.Column("hash", WORDS, nullable=False),
        sa.Column("node_id", WORDS, nullable=False),
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("issued_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.Column("due", sa.Boolean(), nullable=False),
        sa.CheckConstraint("kind IN ('join', 'certificate')", name=op.f("ck_node_credential_kind")),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_node_credential_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_node_credential")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_node_credential_node_id"), "node_credential", ["node_id"], unique=False)
    op.create_table(
        "node_authority",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("private_key", sa.LargeBinary(), nullable=False),
        sa.Column("private_key_key_id", WORDS, nullable=False),
        sa.Column("issued_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["private_key_key_id"], ["encryption_key.id"], name=op.f("fk_node_authority_private_key_key_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_node_authority")),
    )
