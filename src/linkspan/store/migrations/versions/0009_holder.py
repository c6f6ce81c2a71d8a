"""Which agent holds a node."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """To this version. The first agent that says hello holds its node."""
    op.add_column("node", sa.Column("holder", WORDS, nullable=True))
