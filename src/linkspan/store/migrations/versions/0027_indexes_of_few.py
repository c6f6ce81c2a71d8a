"""References that few connections have are indexed where there are any: a new connection writes four pages less."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

COLUMNS = ("live_local_ep_group_id", "live_peer_ep_group_id", "local_certificate_id", "trust_anchor_id")


def upgrade() -> None:
    """To this version."""
    for column in COLUMNS:
        name, where = f"ix_connection_{column}", sa.text(f"{column} IS NOT NULL")
        op.drop_index(name, "connection")
        op.create_index(name, "connection", [column], sqlite_where=where, postgresql_where=where)
