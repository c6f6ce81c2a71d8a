"""The MTU that a node found for a connection."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version."""
    op.add_column("observed", sa.Column("effective_mtu", sa.Integer(), nullable=True))
