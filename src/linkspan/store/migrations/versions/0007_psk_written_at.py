"""When a pre-shared key was written: of two connections that can have only one, the later key is in use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version. Keys without a time are older than all others."""
    op.add_column("connection", sa.Column("psk_written_at", sa.Double(), nullable=True))
