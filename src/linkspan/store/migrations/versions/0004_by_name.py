"""Lists over every project in the order of their names."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = (
    "connection",
    "endpoint_group",
    "ike_policy",
    "ipsec_policy",
    "network",
    "port",
    "router",
    "service",
    "subnet",
)


def upgrade() -> None:
    """To this version."""
    for table in TABLES:
        op.create_index(f"ix_{table}_name", table, ["name", "id"])
