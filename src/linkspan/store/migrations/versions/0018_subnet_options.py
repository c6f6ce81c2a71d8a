"""Name servers and host routes of subnets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

COLUMNS = ("dns_nameservers", "host_routes")


def upgrade() -> None:
    """To this version. The subnets that are there have none of either."""
    for name in COLUMNS:
        op.add_column("subnet", sa.Column(name, sa.Text(), nullable=True))
    subnet = sa.table("subnet", *(sa.column(name) for name in COLUMNS))
    op.get_bind().execute(subnet.update().values(dict.fromkeys(COLUMNS, "[]")))
