"""Default quotas bound what a project takes; a project that has more than they allow keeps what it has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

DEFAULTS = {"service": 10, "network": 100, "subnet": 100, "router": 10}
"""The defaults of this version, which settings can replace; before they were unlimited."""


def upgrade() -> None:
    """To this version. The quota of such a project is what it has: it can replace objects, and not add any."""
    connection = op.get_bind()
    quota = sa.table("quota", *map(sa.column, ("project_id", "resource", "most")))
    for name, most in DEFAULTS.items():
        table = sa.table(name, *map(sa.column, ("id", "project_id", "deleted_at")))
        used = sa.select(table.c.project_id, sa.func.count(table.c.id))
        if name == "service":
            used = used.where(table.c.deleted_at.is_(None))
        used = used.group_by(table.c.project_id).having(sa.func.count(table.c.id) > most)
        own = sa.select(quota.c.project_id).where(quota.c.resource == name)
        for project, count in connection.execute(used.where(table.c.project_id.not_in(own))).all():
            connection.execute(quota.insert().values(project_id=project, resource=name, most=count))
