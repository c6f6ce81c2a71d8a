"""Leases on a clock of their own, which runs only while an API process can write."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

LEASE = 30.0


def upgrade() -> None:
    """To this version. The clock starts where the leases that are there were renewed last."""
    table = op.create_table(
        "lease_clock",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("wall", sa.Double(), nullable=False),
        sa.Column("amnesty", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lease_clock")),
    )
    last = op.get_bind().execute(sa.text("SELECT max(lease_until) FROM node")).scalar()
    if last:
        op.bulk_insert(table, [{"id": 1, "at": last - LEASE, "wall": time.time(), "amnesty": 0.0}])
