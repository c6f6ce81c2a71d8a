"""The code of the cause that a node reports of a connection, and since when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """To this version. Nodes report the codes with their next reports."""
    op.add_column("observed", sa.Column("code", WORDS, nullable=True))
    op.add_column("observed", sa.Column("code_at", sa.Double(), nullable=True))
