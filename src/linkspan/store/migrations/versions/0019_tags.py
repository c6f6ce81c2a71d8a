"""Tags of the inventory's objects."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TABLES = ("network", "port", "router", "subnet")


def upgrade() -> None:
    """To this version. The objects that are there have no tags."""
    for table in TABLES:
        op.add_column(table, sa.Column("tags", sa.Text(), nullable=True))
        op.get_bind().execute(sa.table(table, sa.column("tags")).update().values(tags="[]"))
