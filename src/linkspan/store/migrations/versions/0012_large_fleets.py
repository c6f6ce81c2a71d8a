"""Indexes of what is rare, and of what long lists are sorted by, so that no statement grows with the fleet.

`change.settled` tells what may not be ACTIVE from what is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

RARE = (
    ("ix_connection_deleted_at", "connection", ["deleted_at"], "deleted_at IS NOT NULL"),
    ("ix_service_deleted_at", "service", ["deleted_at"], "deleted_at IS NOT NULL"),
    ("ix_service_disabled", "service", ["id"], "NOT admin_state_up"),
    ("ix_gateway_deleted_at", "gateway", ["deleted_at"], "deleted_at IS NOT NULL"),
    ("ix_gateway_waiting", "gateway", ["router_id"], "node_id IS NULL AND deleted_at IS NULL"),
    ("ix_change_at", "change", ["at"], "deleted"),
    ("ix_change_unsettled", "change", ["kind", "object_id"], "settled IS NULL"),
)
ON_SQLITE = {"deleted": "deleted = 1", "NOT admin_state_up": "admin_state_up = 0"}
SETTLED = """
UPDATE change SET settled = TRUE WHERE deleted OR EXISTS (
    SELECT 1 FROM observed WHERE observed.kind = change.kind AND observed.object_id = change.object_id
    AND observed.node_id = change.node_id AND observed.revision >= change.revision
    AND observed.state IN ('up', 'ready'))
"""


def upgrade() -> None:
    """To this version."""
    op.add_column("change", sa.Column("settled", sa.Boolean(), nullable=True))
    op.execute(SETTLED)
    for name, table, columns, where in RARE:
        on_sqlite = sa.text(ON_SQLITE.get(where, where))
        op.create_index(name, table, columns, sqlite_where=on_sqlite, postgresql_where=sa.text(where))
    for column in ("peer_address", "peer_id", "created_at", "updated_at"):
        op.create_index(f"ix_connection_{column}", "connection", [column, "id"])
