"""Users and projects that can be disabled; users with a description and an e-mail address."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version. Everybody who is there stays enabled."""
    for table in ("project", "account"):
        op.add_column(table, sa.Column("disabled_at", sa.Double(), nullable=True))
    for name in ("description", "email"):
        op.add_column("account", sa.Column(name, sa.Text(), nullable=True))
