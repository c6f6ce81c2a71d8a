"""What the strongSwan of a node can do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """To this version. Nodes say it with their next hello."""
    op.add_column("node", sa.Column("capabilities", WORDS, nullable=True))
